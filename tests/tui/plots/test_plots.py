import math
import re
import string
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from psi_tui import plots
from psi_tui.plots import draw
from psi_tui.plots.figures import Curves, MirroredHistogram, Palette, Scatter, Series
from psi_tui.plots.ticks import Tick, nice_ticks, thinned

UPPER_HALF = set("▀▘▝▛▜")
LOWER_HALF = set("▄▖▗▙▟")
BLOCKS = UPPER_HALF | LOWER_HALF | set("█▌▐")
EMPTY = " "


def histogram(upper, lower, names=("", "")):
    edges = np.linspace(0.2, 0.6, len(upper) + 1).tolist()
    return MirroredHistogram(tuple(edges), tuple(upper), tuple(lower), *names)


def picture(upper, lower, width=80, height=22):
    return draw(histogram(upper, lower), width, height).plain.splitlines()


def heights_of(lines, bins, *, ascii_only=False):
    """Half lines filled above and below the middle of the canvas, at the middle column of every bin."""
    border, tick = "|+" if ascii_only else "│┤"
    canvas = [line[line.index(border if border in line else tick) + 1 :] for line in lines[:-2]]
    half, across = len(canvas) // 2, (len(canvas[0]) - len(canvas[0]) % bins or len(canvas[0])) / bins
    above, below = [], []
    for place in range(bins):
        column = [line[int((place + 0.5) * across)] for line in canvas]
        filled = [2 - (c == EMPTY) * 2 - (c in LOWER_HALF | UPPER_HALF) for c in column]
        above.append(sum(filled[:half]))
        below.append(sum(filled[half:]))
    return above, below


def balanced_counts():
    return st.lists(st.integers(0, 20), min_size=10, max_size=10)


@settings(max_examples=20, deadline=None)
@given(balanced_counts(), balanced_counts(), st.booleans())
def test_every_bin_is_as_high_as_its_count(upper, lower, ascii_only):
    upper[0] = 20
    lines = draw(histogram(upper, lower), 93, 22, ascii_only=ascii_only).plain.splitlines()
    above, below = heights_of(lines, 10, ascii_only=ascii_only)
    for counts, heights in ((upper, above), (lower, below)):
        for count, height in zip(counts, heights, strict=True):
            assert (height > 0) == (count > 0)
            assert abs(height - count) <= 1


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_single_image_is_seen_in_its_own_half(ascii_only):
    lines = draw(histogram([10_000, 1, 0], [0, 0, 1]), 70, 22, ascii_only=ascii_only).plain.splitlines()
    above, below = heights_of(lines, 3, ascii_only=ascii_only)
    assert [height > 0 for height in above] == [True, True, False]
    assert [height > 0 for height in below] == [False, False, True]


@settings(max_examples=20, deadline=None)
@given(balanced_counts(), balanced_counts())
def test_a_small_histogram_grows_from_the_line_in_its_middle(upper, lower):
    upper[0] = 20
    lines = draw(histogram(upper, lower), 30, 9, compact=True).plain.splitlines()
    assert lines[4].split() == ["0.20", "─" * 20, "0.60"]
    for counts, half in ((upper, lines[3::-1]), (lower, lines[5:])):
        for place, count in enumerate(counts):
            column = [line[3 * place + 1] for line in half]
            filled = sum(2 - (c == EMPTY) * 2 - (c in LOWER_HALF | UPPER_HALF) for c in column)
            assert filled == math.ceil(count * 8 / 20)


def test_what_grows_up_and_down_is_named():
    lines = draw(histogram([1, 2], [2, 1], ("benign, 3 images", "fgsm@0.03")), 60, 14).plain.splitlines()
    assert lines[0] == "up    benign, 3 images"
    assert lines[-1] == "down  fgsm@0.03"
    assert len(lines) <= 14


def test_ticks_of_the_mirrored_half_are_positive():
    lines = picture([0, 500, 0, 0], [0, 0, 700, 0])
    labels = [line.split("┤")[0].strip() for line in lines if "┤" in line]
    assert labels == ["500", "0", "500"]
    assert "-" not in "".join(lines)


@pytest.mark.parametrize("height", range(6, 30))
@pytest.mark.parametrize("highest", [1, 2, 3, 17, 630, 10_000])
def test_no_tick_of_a_histogram_says_what_another_says(highest, height):
    lines = picture([highest, 0, 1], [0, 1, 0], height=height)
    labels = [line.split("┤")[0].strip() for line in lines if "┤" in line]
    above = labels[: labels.index("0") + 1]
    assert len(set(above)) == len(above)
    assert labels == [*above, *above[-2::-1]]


def test_axis_values_read_back_as_places_on_the_axis():
    assert picture([1, 2], [2, 1])[-1].split() == ["0.2", "0.3", "0.4", "0.5", "0.6"]


@pytest.mark.parametrize(("width", "height"), [(80, 22), (140, 30), (60, 21), (40, 12)])
@pytest.mark.parametrize("bins", [1, 2, 7, 20, 40])
def test_the_picture_keeps_within_its_size(width, height, bins):
    lines = picture(list(range(bins)), list(range(bins)), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert len({len(line) for line in lines[:-1]}) == 1


def test_no_images_still_give_a_picture():
    lines = picture([0] * 5, [0] * 5)
    assert "┤" in "".join(lines)
    assert not set("".join(lines)) & BLOCKS


NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 0.5, 1.0, math.nan])
POINTS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12)
ROLES = st.sampled_from(["benign", "attacked", "control", "other"])
SERIES = st.builds(
    lambda name, points, role: Series(name, tuple(x for x, _ in points), tuple(y for _, y in points), role),
    st.text(string.ascii_letters + "@.é∞", max_size=30),
    POINTS,
    ROLES,
)
LABELS = st.none() | st.lists(st.text(string.ascii_letters + ".…", max_size=40), max_size=30).map(tuple)
FIGURES = st.one_of(
    st.builds(Scatter, st.lists(SERIES, max_size=6).map(tuple), st.just("PSI of conv3"), st.just("accuracy %")),
    st.builds(Curves, st.lists(SERIES, max_size=6).map(tuple), st.just("ε"), st.just("Δ PSI"), LABELS),
    st.builds(
        lambda low, span, pairs: MirroredHistogram(
            tuple(low + abs(span) * place for place in range(len(pairs) + 1)),
            tuple(upper for upper, _ in pairs),
            tuple(lower for _, lower in pairs),
            "benign",
            "sign-noise@0.03",
        ),
        NUMBERS,
        NUMBERS,
        st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=50),
    ),
)


@settings(max_examples=300, deadline=None)
@given(FIGURES, st.integers(0, 60), st.integers(0, 26), st.booleans(), st.booleans())
def test_any_figure_is_drawn_within_any_size(figure, width, height, ascii_only, compact):
    text = draw(figure, width, height, ascii_only=ascii_only, compact=compact)
    lines = text.plain.split("\n")
    assert len(lines) <= max(1, height)
    assert max(map(len, lines)) <= width
    if ascii_only:
        assert text.plain.isascii()


@pytest.mark.parametrize("figure", [histogram([], []), Scatter((), "x", "y"), Curves((), "x", "y")])
def test_nothing_to_show_is_said_in_the_middle(figure):
    lines = draw(figure, 40, 9).plain.split("\n")
    assert [line.strip() for line in lines] == ["", "", "", "", "nothing to show"]
    assert lines[-1].index("n") == 12


def test_no_room_is_said():
    assert draw(histogram([1], [1]), 6, 2).plain.split("\n") == [" too", "small"]
    assert draw(histogram([1], [1]), 10, 2).plain.strip() == "too small"


def test_nothing_is_painted_behind_and_halves_have_their_colors():
    figure = histogram([4, 2], [1, 4], ("a", "b"))
    palette = Palette("#010203", "#040506", "red", ("red",), "#070809")
    console = Console(force_terminal=True, color_system="truecolor", width=100)
    with console.capture() as capture:
        console.print(draw(figure, 80, 14, palette))
    lines = capture.get().splitlines()
    assert "\x1b[4" not in capture.get()
    assert all(("38;2;1;2;3m" in line) == (place <= 5) for place, line in enumerate(lines))
    assert all(("38;2;4;5;6m" in line) == (place in {*range(6, 11), 13}) for place, line in enumerate(lines))


def test_threads_do_not_draw_into_each_other():
    figures = [histogram([place + 1, 40, place], [3, 2 * place, 40]) for place in range(12)]
    alone = [draw(figure, 60, 16).plain for figure in figures]
    together = threading.Barrier(6)

    def drawn(figure):
        together.wait(timeout=30)
        return [draw(figure, 60, 16).plain for _ in range(5)]

    with ThreadPoolExecutor(6) as pool:
        for expected, several in zip(alone, pool.map(drawn, figures), strict=True):
            assert several == [expected] * 5


def seconds(work, times):
    """CPU time of one call, the best of several."""
    work()
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def test_pictures_are_drawn_in_time():
    counts = (1000 * np.exp(-(((np.arange(40) - 20) / 8) ** 2))).astype(int).tolist()
    figure = histogram(counts, counts[::-1], ("benign", "fgsm@0.03"))
    assert seconds(lambda: draw(figure, 80, 20), 5) <= 0.03
    assert seconds(lambda: [draw(figure, 34, 9, compact=True) for _ in range(16)], 3) <= 0.15


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(1, 12))
def test_ticks_lie_within_and_are_about_as_many(low, span, about):
    ticks = nice_ticks(low, low + span, about)
    slack = 1e-6 * max(1, abs(low), span)
    assert all(low - slack <= tick <= low + span + slack for tick in ticks)
    assert len(ticks) <= 2 * about + 2


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(2, 12))
def test_no_axis_has_one_number_alone(low, span, about):
    assert len(nice_ticks(low, low + span, about)) >= 2


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 0.95), st.floats(0.01, 0.5), st.integers(60, 120), st.integers(10, 30))
def test_the_numbers_below_a_histogram_reach_near_both_ends(low, span, width, height):
    counts = (5,) * 40
    figure = MirroredHistogram(tuple(np.linspace(low, low + span, 41).tolist()), counts, counts)
    axis = next(line for line in draw(figure, width, height).plain.splitlines() if "└" in line)
    marks = [place for place, letter in enumerate(axis) if letter == "┬"]
    left, across = axis.index("└"), len(axis.rstrip()) - axis.index("└")
    assert len(marks) >= 2
    assert marks[0] - left <= 0.4 * across
    assert len(axis.rstrip()) - marks[-1] <= 0.4 * across


@given(st.lists(st.text("ab", min_size=1, max_size=12), min_size=1, max_size=40), st.integers(12, 90))
def test_labels_that_are_kept_have_room(labels, width):
    ticks = [Tick(0.5 + place * (width - 1) / len(labels), label) for place, label in enumerate(labels)]
    kept = thinned(ticks, width)
    assert kept[0] == ticks[0]
    assert sum(len(tick.label) + 2 for tick in kept) <= width + 2


def test_plotext_waits_behind_one_door_until_something_is_drawn():
    package = Path(plots.__file__).parents[1]
    importing = re.compile(r"^\s*(import|from) plotext", re.MULTILINE)
    doors = [file.name for file in package.rglob("*.py") if importing.search(file.read_text(encoding="utf-8"))]
    assert doors == ["canvas.py"]
    loaded = "import sys, psi_tui.plots; print(*{'plotext', 'rich'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "\n"
