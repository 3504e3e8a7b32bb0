"""A cursor on a plot: it stands where a value is drawn, and tells that value."""

import pytest
from rich.cells import cell_len

from psi_tui.plots import cursor_stops, draw
from psi_tui.plots.cursor import with_cursor
from psi_tui.plots.figures import TERMINAL_PALETTE, Curves, MirroredHistogram, Scatter, Series
from psi_tui.screens.base import PlotPane
from psi_tui.widgets.plot import Plot
from tests.recorded import record_run
from tests.tui.apps import NARROW, press, running, settled, text_of, until

HISTOGRAM = MirroredHistogram(
    tuple(place / 10 for place in range(11)),
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (9, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    "benign, 45 images",
    "fgsm@0.03, 9 images",
)
CURVES = Curves(
    (
        Series("up", (0.0, 0.03, 0.1), (0.0, 0.5, 1.0), "attacked", ((0.0, 0.0), (0.4, 0.6), (0.9, 1.1))),
        Series("gone", (0.0, 0.1), (0.2, float("nan")), "control"),
    ),
    "epsilon",
    "shift",
    x_texts=((0.03, "8/255"),),
)
LAYERS = Curves((Series("a", (0.0, 1.0), (1.0, -1.0)),), "layer", "shift", ("conv1", "conv2"))
SCATTER = Scatter((Series("benign", (0.1, 0.3, 0.3), (1.0, 2.0, 3.0), "benign"),), "mean PSI", "accuracy %")
FIGURES = {"histogram": HISTOGRAM, "curves": CURVES, "layers": LAYERS, "scatter": SCATTER}


@pytest.mark.parametrize("ascii_only", [False, True], ids=["blocks", "ascii"])
@pytest.mark.parametrize("size", [(80, 20), (60, 9), (200, 50)], ids=str)
@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_cursor_stays_in_the_picture_and_tells_its_stop(figure, size, ascii_only):
    width, height = size
    picture = draw(figure, width, height, ascii_only=ascii_only)
    stops = cursor_stops(figure, width, height, TERMINAL_PALETTE, ascii_only)
    assert list(stops.columns) == sorted(stops.columns)
    assert 0 <= stops.columns[0] <= stops.columns[-1] < width
    for stop, column in enumerate(stops.columns):
        assert stops.columns[stops.nearest(column)] == column
        lines = with_cursor(picture, stops, stop, width, ascii_only=ascii_only).plain.split("\n")
        assert len(lines) == len(picture.plain.split("\n"))
        assert all(cell_len(line) <= max(width, column + 1) for line in lines)
        assert lines[0] == stops.words(stop, width)[:width]


def test_readings_are_the_figures_own_numbers():
    def readings(figure):
        return [text[0] for text in cursor_stops(figure, 80, 20, TERMINAL_PALETTE, False).readings]

    assert len(readings(HISTOGRAM)) == 10
    assert readings(HISTOGRAM)[0].endswith("benign 0, fgsm@0.03 9")
    assert readings(HISTOGRAM)[9].endswith("benign 9, fgsm@0.03 0")
    assert readings(HISTOGRAM)[3].startswith("0.3")
    assert readings(CURVES) == [
        "epsilon 0: up 0 [0, 0]; gone 0.2",
        "epsilon 8/255: up 0.5 [0.4, 0.6]",
        "epsilon 0.1: up 1 [0.9, 1.1]",
    ]
    assert readings(LAYERS) == ["conv1: a 1", "conv2: a -1"]
    assert readings(SCATTER) == ["mean PSI 0.1: benign 1", "mean PSI 0.3: benign 2; benign 3"]


def test_a_bar_stands_where_the_cursor_finds_it():
    stops = cursor_stops(HISTOGRAM, 80, 20, TERMINAL_PALETTE, False)
    lines = draw(HISTOGRAM, 80, 20).plain.split("\n")
    assert lines[stops.top][stops.columns[9]] != " ", "the highest bar reaches the top"
    assert lines[stops.top][stops.columns[0]] == " "


def test_what_has_no_axes_has_no_cursor():
    assert cursor_stops(HISTOGRAM, 8, 3, TERMINAL_PALETTE, False) is None
    assert cursor_stops(Curves((), "x", "y"), 80, 20, TERMINAL_PALETTE, False) is None


@pytest.mark.usefixtures("warm_engine")
async def test_keys_and_clicks_read_values_off(own_folders):
    directory = record_run(own_folders, name="mine", epsilon="0.03,0.1")
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        plot = app.screen.query_one("#histogram", Plot)
        await until(pilot, lambda: plot.figure is not None, "the histogram")
        await press(pilot, "enter", "right")
        assert app.screen.maximized is not None
        first = plot.stop
        assert "fgsm@0.1 " in text_of(app).splitlines()[1]
        await press(pilot, "right", "l", "left")
        assert plot.stop == first + 1
        await press(pilot, *["left"] * 40)
        assert plot.stop == 0
        await press(pilot, "]")
        assert plot.stop is None, "another layer is another picture"
        await press(pilot, "right", "escape")
        assert (app.screen.maximized, plot.stop) == (None, None)
        app.screen.query_one("#tabs").active = "epsilon"
        await settled(pilot)
        curves = app.screen.query_one("#accuracy-curves", Plot)
        await until(pilot, lambda: curves._picture is not None, "the curves")
        await pilot.click(curves, offset=(70, 3))
        assert curves.stop == 2
        assert "epsilon 0.1: fgsm" in text_of(app)
        assert isinstance(app.focused, PlotPane)
        await press(pilot, "left")
        assert "epsilon 0.03: fgsm" in text_of(app)
        await press(pilot, "escape")
        assert curves.stop is None
        assert app.current_mode == "results"
