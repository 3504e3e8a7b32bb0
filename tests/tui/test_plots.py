import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psi_tui.plots import mirrored_histogram, nice_ticks

UPPER_HALF = set("▀▘▝▛▜")
LOWER_HALF = set("▄▖▗▙▟")
EMPTY = " "


def picture(upper, lower, width=80, height=22):
    edges = np.linspace(0.2, 0.6, len(upper) + 1).tolist()
    return mirrored_histogram(edges, upper, lower, width=width, height=height).plain.splitlines()


def heights_of(lines, bins):
    """Half lines filled above and below the middle of the canvas, at the middle column of every bin."""
    canvas = [line[line.index("│") + 1 if "│" in line else line.index("┤") + 1 :] for line in lines[:-2]]
    half, across = len(canvas) // 2, (len(canvas[0]) - len(canvas[0]) % bins or len(canvas[0])) / bins
    above, below = [], []
    for place in range(bins):
        column = [line[int((place + 0.5) * across)] for line in canvas]
        filled = [2 - (c == EMPTY) * 2 - (c in LOWER_HALF | UPPER_HALF) for c in column]
        above.append(sum(filled[:half]))
        below.append(sum(filled[half:]))
    return above, below


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=10, max_size=10), st.lists(st.integers(0, 20), min_size=10, max_size=10))
def test_every_bin_is_as_high_as_its_count(upper, lower):
    upper[0] = 20
    lines = picture(upper, lower, width=93, height=22)
    above, below = heights_of(lines, 10)
    for counts, heights in ((upper, above), (lower, below)):
        for count, height in zip(counts, heights, strict=True):
            assert (height > 0) == (count > 0)
            assert abs(height - count) <= 1


def test_ticks_of_the_mirrored_half_are_positive():
    lines = picture([0, 500, 0, 0], [0, 0, 700, 0])
    labels = [line.split("┤")[0].strip() for line in lines if "┤" in line]
    assert labels == ["500", "0", "500"]
    assert "-" not in "".join(lines)


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
    assert not set("".join(lines)) & (UPPER_HALF | LOWER_HALF | {"█"})


def test_nothing_is_painted_behind():
    from rich.console import Console

    console = Console(force_terminal=True, color_system="truecolor", width=100)
    text = mirrored_histogram([0, 0.5, 1], [3, 2], [1, 4], width=80, height=12)
    with console.capture() as capture:
        console.print(text)
    assert "\x1b[4" not in capture.get().replace("\x1b[49m", "")
    assert "\x1b[9" in capture.get()


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(1, 12))
def test_ticks_lie_within_and_are_about_as_many(low, span, about):
    ticks = nice_ticks(low, low + span, about)
    slack = 1e-6 * max(1, abs(low), span)
    assert all(low - slack <= tick <= low + span + slack for tick in ticks)
    assert len(ticks) <= 2 * about + 2
