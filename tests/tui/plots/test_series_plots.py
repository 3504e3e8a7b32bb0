import math
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psi_tui.plots import draw
from psi_tui.plots.figures import Curves, Palette, Scatter, Series

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
PALETTE = Palette("#000001", "#000002", "#000003", ("#000004", "#000005"), "#000009")
BRAILLE = re.compile("[\u2801-\u28ff]")


def canvas_of(lines):
    """What stands right of the vertical axis, from the top line to the bottom one."""
    return [re.split("[│┤|+]", line, maxsplit=1)[1] for line in lines if re.match(r"^[ \d.+-]*[│┤]", line)]


def places_of(lines, marker):
    return [(column, row) for row, line in enumerate(canvas_of(lines)) for column, c in enumerate(line) if c == marker]


def profile(*values, roles=("benign", "attacked", "control")):
    places = tuple(float(place) for place in range(len(values[0])))
    series = tuple(Series(role, places, tuple(one), role) for one, role in zip(values, roles, strict=False))
    return Curves(series, "layer", "PSI", LAYERS[: len(places)])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 100)), min_size=1, max_size=7, unique_by=lambda p: p[0]))
def test_a_marker_lies_at_the_share_of_its_value(points):
    points = [(0, 0), (6, 100), *((x, y) for x, y in points if 0 < x < 6)]
    figure = Scatter((Series("benign", *map(tuple, zip(*points, strict=True)), "benign"),), "x", "y")
    lines = draw(figure, 70, 24).plain.split("\n")
    canvas = canvas_of(lines)
    width, height = len(canvas[0]), len(canvas)
    marked = places_of(lines, "o")
    assert len(marked) == len(points)
    for (x, y), (column, row) in zip(sorted(points), sorted(marked), strict=True):
        assert abs(column - 1 - x / 6 * (width - 3)) <= 1
        assert abs(row - (1 - y / 100) * (height - 1)) <= 1


def test_every_series_has_a_marker_of_its_own_and_a_place_in_the_legend():
    roles = ("benign", "attacked", "attacked", "control", "other", "benign", "other")
    series = tuple(Series(f"name{place}", (0.0, 1.0), (place, place), role) for place, role in enumerate(roles))
    lines = draw(Curves(series, "epsilon", "PSI"), 100, 24).plain.split("\n")
    assert lines[0] == "o name0  x name1  a name2  + name3  b name4  c name5  d name6"
    for marker in "oxa+bcd":
        assert len(places_of(lines, marker)) == 2


def test_more_series_than_letters_are_drawn():
    series = tuple(Series(f"layer{place}", (0.0, 1.0), (place, place)) for place in range(300))
    lines = draw(Curves(series, "epsilon", "PSI"), 80, 24).plain.split("\n")
    assert [len(line) <= 80 for line in lines[:3]] == [True] * 3
    assert lines[2].endswith("  …")
    assert "layer" not in lines[3]


@pytest.mark.parametrize(("width", "height", "most"), [(80, 10, 1), (80, 20, 2), (40, 30, 3)])
def test_a_legend_takes_few_lines(width, height, most):
    series = tuple(Series(f"sign-noise@0.{place}", (0.0, 1.0), (place, place)) for place in range(20))
    for ascii_only, ellipsis in ((False, "…"), (True, "...")):
        lines = draw(Curves(series, "epsilon", "PSI"), width, height, ascii_only=ascii_only).plain.split("\n")
        assert ["sign-noise" in line for line in lines].count(True) == most
        assert lines[most - 1].endswith(f"  {ellipsis}")


def test_series_have_their_colors_and_axes_are_muted():
    text = draw(profile([0.1, 0.2], [0.3, 0.4], [0.5, 0.6]), 60, 16, PALETTE)
    end = text.plain.index("┬")
    for marker, color in (("o", "#000001"), ("x", "#000002"), ("+", "#000003"), ("│", "#000009"), ("┬", "#000009")):
        for place in (text.plain.index(marker), text.plain.rindex(marker, 0, end + 1)):
            styles = [span.style for span in text.spans if span.start <= place < span.end]
            assert styles[-1].color.name == color


def test_curves_that_lie_on_each_other_are_both_marked():
    lines = draw(profile([0.1, 0.5, 0.3], [0.1, 0.5, 0.3], [0.1, 0.5, 0.3]), 60, 16).plain.split("\n")
    places = [places_of(lines, marker) for marker in "ox+"]
    assert [len(one) for one in places] == [3, 3, 3]
    for benign, attacked, control in zip(*places, strict=True):
        assert benign[1] == attacked[1] == control[1]
        assert {attacked[0] - benign[0], control[0] - benign[0]} <= {-2, -1, 1}


def test_many_curves_that_end_together_are_marked_there():
    series = tuple(Series(layer, (0.0, 0.3), (0.0, 0.0)) for layer in LAYERS)
    lines = draw(Curves(series, "epsilon", "shift"), 60, 16).plain.split("\n")
    (level,) = [line for line in canvas_of(lines) if "a" in line]
    assert all(layer in level[-10:] for layer in "abcdefg")


def test_a_gap_is_left_where_there_is_no_value():
    whole = draw(profile([0.1, 0.5, 0.3, 0.4]), 60, 16).plain
    broken = draw(profile([0.1, 0.5, math.nan, 0.4]), 60, 16).plain
    assert len(places_of(broken.split("\n"), "o")) == 3
    column = places_of(whole.split("\n"), "o")[2][0]
    reach = range(column - 8, column + 8)
    assert all(
        any(BRAILLE.match(line[place]) for line in canvas_of(whole.split("\n"))) for place in reach if place != column
    )
    assert not any(BRAILLE.match(line[place]) for line in canvas_of(broken.split("\n")) for place in reach)


def test_points_of_a_scatter_are_not_joined():
    figure = Scatter((Series("benign", (0.0, 1.0), (0.0, 1.0), "benign"),), "x", "y")
    assert not BRAILLE.search(draw(figure, 60, 16).plain)
    assert "." not in "".join(canvas_of(draw(figure, 60, 16, ascii_only=True).plain.split("\n")))


def test_every_layer_is_named_where_there_is_room():
    lines = draw(profile([0.1, 0.5, 0.3, 0.2, 0.2, 0.4, 0.6]), 80, 18).plain.split("\n")
    assert lines[-2].split() == list(LAYERS)
    assert lines[-1].strip() == "layer"
    assert lines[1] == "PSI"


@pytest.mark.parametrize("width", range(24, 130, 7))
@pytest.mark.parametrize("name", ["conv{}", "features.denseblock2.denselayer{}.relu1"])
def test_names_of_layers_never_touch(width, name):
    names = tuple(name.format(place) for place in range(121))
    values = tuple(place / 7 for place in range(121))
    series = Series("benign", tuple(map(float, range(121))), values, "benign")
    line = draw(Curves((series,), "layer", "PSI", names), width, 18).plain.split("\n")[-2]
    written = line.split()
    assert len(written) >= 1 + (width > 30)
    assert re.search(r"\S \S", line) is None
    numbers = [int(re.search(r"(\d+)(\.relu1)?$", one)[1]) for one in written]
    assert len({after - before for before, after in pairwise(numbers)}) <= 1


def test_numbers_across_are_round_and_told_once():
    curve = Series("fgsm", (0.0, 0.01, 0.03, 0.1, 0.3), (98.0, 95.0, 60.0, 12.0, 1.0), "attacked")
    lines = draw(Curves((curve,), "epsilon", "accuracy, %"), 80, 20).plain.split("\n")
    assert lines[-2].split() == ["0.00", "0.05", "0.10", "0.15", "0.20", "0.25", "0.30"]
    ticks = [line.split("┤")[0].strip() for line in lines if "┤" in line]
    assert ticks == ["100", "80", "60", "40", "20", "0"]


def test_shifts_have_signs_and_a_line_at_zero():
    curve = Series("conv1", (0.0, 0.1, 0.2), (0.03, 0.01, -0.02))
    lines = draw(Curves((curve,), "epsilon", "shift"), 80, 20).plain.split("\n")
    ticks = [line.split("┤")[0].strip() for line in lines if "┤" in line]
    assert ticks == ["+0.03", "+0.02", "+0.01", "0.00", "-0.01", "-0.02"]
    (zero,) = [line for line in lines if line.strip().startswith("0.00┤")]
    assert zero.count("╌") > 40


def test_small_ones_tell_the_ends_alone():
    lines = draw(profile([0.1, 0.5, 0.3, 0.2, 0.2, 0.4, 0.6]), 34, 9, compact=True).plain.split("\n")
    assert len(lines) == 9
    assert lines[-1] == f"conv1 {'─' * 24} fc7"
    lines = draw(Scatter((Series("a", (0.25, 0.75), (1.0, 2.0)),), "x", "y"), 30, 8, compact=True).plain.split("\n")
    assert lines[-1].split() == ["0.25", "─" * 20, "0.75"]
    assert not set("".join(lines)) & set("│┤")
