"""Tab Classes tells what the tables of classes, correlation and lifetime hold, as far as there is room for it."""

import json

import numpy as np
import pytest

from psi_core.runs.chunks import chunk_path, read_arrays
from psi_core.runs.finding import load_run
from psi_core.tables.registry import table_rows
from psi_tui.screens.results.classes import class_level, correlation_words
from psi_tui.text.formatting import format_cell
from psi_tui.widgets.plot import Plot
from tests.recorded import LAYERS, record_run, rewrite_chunk
from tests.tui.apps import NARROW, WIDE, press, running, settled, text_of, until

pytestmark = pytest.mark.usefixtures("warm_engine")

LIU = {"Liu frozen": "psi_liu", "Liu live": "psi_liu_live", "Liu separate": "psi_liu_separate"}


def changed(directory, change):
    """The run with other arrays in its chunks."""
    for number in range(load_run(directory).chunks):
        rewrite_chunk(directory, number, change(read_arrays(chunk_path(directory, number))))
    return directory


def silenced(arrays):
    """Channel 0 of every layer never responds."""
    for name in arrays:
        if name.startswith(("class_sum/", "square_sum/")):
            arrays[name][..., 0] = 0
    return arrays


def older(arrays):
    """What earlier versions wrote."""
    return {name: array for name, array in arrays.items() if not name.startswith("square_sum/")}


def of_many_classes(arrays):
    """200 classes of 3 images."""
    arrays["label"] = np.arange(600) % 200
    arrays["prediction"] = np.where(arrays["prediction"] % 3 > 0, arrays["label"], 0)
    arrays["class_labels"], arrays["class_counts"] = np.arange(200), np.full(200, 3)
    for layer in LAYERS:
        sums = np.random.default_rng(1).random((len(arrays["psi"]), 200, layer.channels))
        arrays[f"class_sum/{layer.name}"] = sums
    return arrays


async def open_tab(app, pilot):
    app.screen.query_one("#tabs").active = "classes"
    await until(pilot, lambda: app.screen.view.tables.get("lifetime"), "the last of its tables")
    await settled(pilot)


async def resize(pilot, size):
    await pilot.resize_terminal(*size)
    await settled(pilot)


def of(rows, layer, condition):
    return [row for row in rows if (row["layer"], row["condition"]) == (layer, condition)]


def level_line(app, title):
    lines = str(app.screen.query_one("#class-level").render()).splitlines()
    (line,) = (line for line in lines if line.startswith(title))
    return line


async def test_r_with_p_and_n_is_the_correlation_tables_for_whatever_the_scatter_shows(own_folders):
    directory = record_run(own_folders, name="mine", images=400, chunk=400)
    correlation, classes = (table_rows(load_run("mine"), table) for table in ("correlation", "classes"))
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        await open_tab(app, pilot)
        for size, measure, layer in (
            (NARROW, "psi_mean", "conv1"),
            (NARROW, "psi_class_mean", "conv2"),
            (WIDE, "psi_mean", "fc1"),
            (WIDE, "psi_class_mean", "conv1"),
        ):
            await resize(pilot, size)
            assert app.screen.choices.layer == layer
            rows = [
                row
                for condition in ("benign", "fgsm@0.03")
                for row in of(correlation, layer, condition)
                if row["measure"] == measure
            ]
            note = str(app.screen.query_one("#class-note").render())
            assert note == correlation_words(*rows, is_wide=size == WIDE)
            assert all(line.strip() in text_of(app) for line in note.splitlines()), "whole"
            points = app.screen.query_one("#scatter", Plot).figure.series
            for series, row in zip(points, rows, strict=True):
                assert f"{row['r']:.2f}" in note
                assert f"{row['p_value']:.2g}" in note
                expected = [each[measure] for each in of(classes, layer, row["condition"])]
                assert series.x == pytest.approx(expected)
                assert np.corrcoef(series.x, series.y)[0, 1] == pytest.approx(row["r"])
            assert "10 classes" in note
            await press(pilot, "right_square_bracket", "v")


async def test_class_means_are_one_key_away_at_80_columns_and_in_sight_at_140(own_folders):
    directory = changed(record_run(own_folders, name="mine", images=400, chunk=200), silenced)
    classes, lifetime = (table_rows(load_run("mine"), table) for table in ("classes", "lifetime"))
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        await open_tab(app, pilot)
        scatter = app.screen.query_one("#scatter-pane")
        assert "Liu frozen" not in text_of(app)
        await resize(pilot, WIDE)
        assert "Liu frozen" in text_of(app)
        assert scatter.display
        await resize(pilot, NARROW)
        assert "Liu frozen" not in text_of(app)
        assert scatter.region.height > 4
        await press(pilot, "v")
        assert not scatter.display
        benign, attacked = (of(classes, "conv1", name) for name in ("benign", "fgsm@0.03"))
        for title, column in LIU.items():
            before, after = (float(np.mean([row[column] for row in rows])) for rows in (benign, attacked))
            line = level_line(app, title)
            numbers = format_cell(before, "psi"), format_cell(after, "psi"), format_cell(after - before, "shift")
            assert tuple(line.removeprefix(title).split()[:3]) == numbers
            assert line.rstrip() in text_of(app), "in sight, and whole"
        assert "1 dead of 4" in level_line(app, "Liu live")
        (before,), (after,) = (of(lifetime, "conv1", name) for name in ("benign", "fgsm@0.03"))
        told = level_line(app, "lifetime").split()
        assert told[1:3] == [format_cell(row["lifetime_mean"], "psi") for row in (before, after)]
        assert told[3] == format_cell(after["delta_mean"], "shift")
        assert told[4] == "3", "channels that are not silent"
        table = app.screen.query_one("#class-table")
        assert {"class", "PSI of mean", "Liu frozen", "Liu separate"} <= set(table.shown_titles)
        await press(pilot, "v")
        assert "attacked PSI" in table.shown_titles


async def test_what_older_runs_do_not_hold_is_said(own_folders):
    directory = changed(record_run(own_folders, name="mine"), older)
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        await open_tab(app, pilot)
        await press(pilot, "v")
        assert level_line(app, "lifetime").split()[1:4] == ["-", "-", "-"]
        assert "sums of squares are not in this run" in text_of(app)


async def test_many_classes_do_not_push_the_words_below_them_out_of_sight(own_folders):
    directory = changed(record_run(own_folders, name="mine", images=600, chunk=600), of_many_classes)
    model = json.loads((directory / "model.json").read_text())
    (directory / "model.json").write_text(json.dumps(model | {"class_names": [f"some class {n}" for n in range(200)]}))
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        await open_tab(app, pilot)
        for size in (NARROW, WIDE):
            await resize(pilot, size)
            for _ in range(2):
                assert "200 classes" in text_of(app)
                assert "some class 0" in text_of(app)
                assert ("quartiles" in text_of(app)) == (
                    size == WIDE or not app.screen.query_one("#scatter-pane").display
                )
                await press(pilot, "v")


NUMBERS = {"condition": "benign", "classes": 10, "r": 0.5, "p_value": 0.14, "verdict": "none shown"}


@pytest.mark.parametrize(
    ("attacked", "told"),
    [
        ({"r": -0.8, "p_value": 0.0051}, "r over 10 classes: benign +0.50 (p 0.14), x@1 -0.80 (p 0.0051)"),
        ({"r": -0.99, "p_value": 1e-9}, "r over 10 classes: benign +0.50 (p 0.14), x@1 -0.99 (p < 0.0001)"),
        ({"r": None, "p_value": None}, "r over 10 classes: benign +0.50 (p 0.14), x@1 -"),
    ],
)
def test_a_line_of_numbers_is_enough_at_80_columns(attacked, told):
    row = NUMBERS | {"condition": "x@1", "verdict": "goes with"} | attacked
    assert correlation_words(NUMBERS, row, is_wide=False) == told
    assert correlation_words(NUMBERS, row, is_wide=True) == "benign: none shown\nx@1: goes with"


@pytest.mark.parametrize("is_wide", [False, True])
def test_where_there_is_no_coefficient_the_reason_is_told_once(is_wide):
    none = NUMBERS | {"r": None, "p_value": None, "verdict": "no accuracy: labels are its own"}
    assert correlation_words(none, none | {"condition": "x@1"}, is_wide=is_wide) == none["verdict"]
    told = correlation_words(none, none | {"condition": "x@1", "verdict": "too few"}, is_wide=is_wide)
    assert "x@1: too few" in told


@pytest.mark.parametrize("channels", [4, 64, 4096])
@pytest.mark.parametrize("width", [60, 78, 82, 120])
@pytest.mark.parametrize("share", [0, 4])
def test_no_line_of_class_means_is_wider_than_there_is_room_for(channels, width, share):
    nearly_dead = channels // share if share else 0
    counts = {"dead_channels": channels // 3, "channels": channels, "nearly_dead_channels": nearly_dead}
    classes = [dict.fromkeys(LIU.values(), 0.5) | counts]
    lifetime = {"channels": channels, "dead": channels // 2, "delta_mean": -0.0123}
    lifetime |= {f"lifetime_{part}": 0.5 for part in ("mean", "median", "q25", "q75")}
    lines = class_level(classes, classes, [lifetime, lifetime], width).plain.splitlines()
    assert max(map(len, lines)) <= width
    if width >= 78:
        assert f"{channels // 3:,} dead of {channels:,}" in lines[2]
        assert (f"without {nearly_dead:,} nearly dead" in lines[1]) == bool(nearly_dead)
        assert f"{channels - channels // 2:,} " in lines[4]
        assert "quartiles" in lines[4]
