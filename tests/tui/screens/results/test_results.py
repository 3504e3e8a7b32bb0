"""The results screen shows the numbers of the tables, on shared bins, and follows what the user chooses."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from textual.widgets import TabbedContent, TabPane

from psi_core.errors import RunError
from psi_core.runs.chunks import chunk_path
from psi_core.runs.event_log import preview_path
from psi_core.runs.finding import load_run
from psi_core.runs.status import STOP_FILE
from psi_core.tables.export import csv_text
from psi_core.tables.registry import table_columns, table_rows
from psi_tui.screens.results.layers import LayersTab
from psi_tui.screens.results.log import WorkerLog
from psi_tui.screens.results.screen import TABS
from psi_tui.text.formatting import format_cell
from psi_tui.widgets.plot import Plot
from tests.core.living import Worker
from tests.recorded import copy_chunk, record_run
from tests.tui.apps import NARROW, WIDE, press, running, settled, text_of, until

pytestmark = pytest.mark.usefixtures("warm_engine")


async def rows_are_there(app, pilot):
    await until(pilot, lambda: "AUROC" in text_of(app), "the table of layers")
    await settled(pilot)


def histogram_of(app):
    return app.screen.query_one(LayersTab).query_one("#histogram", Plot).figure


async def test_the_table_shows_the_numbers_of_the_layers_table(own_folders):
    directory = record_run(own_folders, name="mine", shift=0.05)
    rows = {row["layer"]: row for row in table_rows(load_run("mine"), "layers") if row["condition"] == "fgsm@0.03"}
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        await rows_are_there(app, pilot)
        for layer, row in rows.items():
            line = next(line for line in text_of(app).splitlines() if line.startswith(f" {layer} "))
            assert format_cell(row["delta_mean"], "shift") in line
            assert format_cell(row["delta_control_mean"], "shift") in line
            assert format_cell(row["delta_sd"], "sd") in line
            assert format_cell(row["auroc"], "number") in line
        assert rows["conv1"]["verdict"].split(" (")[0] in text_of(app)


@pytest.mark.parametrize("layer", [0, 1, 2])
async def test_bins_on_screen_are_numpys_and_the_studys_are_the_csvs(own_folders, layer):
    directory = record_run(own_folders, name="mine", images=400, chunk=200)
    run = load_run("mine")
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        await press(pilot, *["right_square_bracket"] * layer)
        for bins in (40, 80, 20):
            figure = histogram_of(app)
            assert len(figure.edges) == bins + 1
            for condition, counts in ((0, figure.upper), (1, figure.lower)):
                expected, _ = np.histogram(run.psi[condition, layer].astype(np.float64), np.array(figure.edges))
                assert list(counts) == expected.tolist()
            if bins == 20:
                table = csv.DictReader(
                    io.StringIO(csv_text(table_rows(run, "histogram"), table_columns(run, "histogram")))
                )
                rows = [row for row in table if row["layer"] == run.layers[layer]]
                for condition, counts in (("benign", figure.upper), ("fgsm@0.03", figure.lower)):
                    exported = [int(row["count"]) for row in rows if row["condition"] == condition]
                    assert list(counts) == exported
            await press(pilot, "b")


async def test_benign_and_attacked_share_their_bins_and_conditions_too(own_folders):
    directory = record_run(own_folders, epsilon="0.03,0.1")
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        edges = set()
        for _ in app.snapshot.run.conditions[1:]:
            await press(pilot, "c")
            edges.add(histogram_of(app).edges)
        assert len(edges) == 1


async def test_every_choice_is_kept_for_the_next_run_and_the_next_start(own_folders):
    one, two = (record_run(own_folders, name=name, epsilon="0.03,0.1") for name in ("one", "two"))
    async with running(own_folders, WIDE, open_directory=one) as (app, pilot):
        await press(pilot, "right_square_bracket", "c", "m", "b", "p", "greater_than_sign")
        choices = app.screen.choices
        app.open_run(two)
        await until(pilot, lambda: app.snapshot is not None and app.snapshot.run.name == "two", "the other run")
        await settled(pilot)
        headline = "fgsm@0.1"
        assert choices.condition != headline
        choices = replace(choices, condition=headline)  # What was looked at in one run says nothing of another.
        assert app.screen.choices == choices
        await press(pilot, "c")
        choices = app.screen.choices
    async with running(own_folders, WIDE) as (app, pilot):
        await until(pilot, lambda: app.snapshot is not None, "the run that was open")
        await settled(pilot)
        assert app.screen.choices == choices
        assert app.screen.query_one(TabbedContent).active == "all_layers"


async def test_the_layer_follows_the_cursor_and_the_cursor_the_layer(own_folders):
    async with running(own_folders, WIDE, open_directory=record_run(own_folders)) as (app, pilot):
        await rows_are_there(app, pilot)
        await press(pilot, "j")
        assert app.screen.choices.layer == "conv2"
        await press(pilot, "right_square_bracket", "right_square_bracket")
        assert app.screen.choices.layer == "conv1"
        assert app.screen.query_one("#layer-table").cursor_row == 0
        assert app.screen.query_one("#layer-tree").cursor_node.data == "conv1"


async def test_a_subset_changes_table_and_histogram_alike(own_folders):
    directory = record_run(own_folders, name="mine", images=200, chunk=100)
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        await press(pilot, "f", "f")
        assert app.screen.choices.subset == "fooled"
        await until(pilot, lambda: "fooled only" in text_of(app), "the subset")
        run = load_run("mine")
        correct = run.predictions == run.labels
        assert sum(histogram_of(app).upper) <= int((correct[0] & ~correct[1]).sum()) < run.images
        (row, *_) = [row for row in app.screen.view.tables["layers"] if row["condition"] == "fgsm@0.03"]
        assert row["subset"] == "fooled"


async def test_a_live_run_grows_on_screen_and_its_end_is_seen(own_folders):
    worker = Worker()
    other = record_run(own_folders.parent / "other", images=100)
    live = record_run(own_folders, images=100, chunks=[0], finished=False, identity=worker.identity)
    async with running(own_folders, WIDE, open_directory=live) as (app, pilot):
        assert "▶ running" in text_of(app)
        assert sum(histogram_of(app).upper) <= 25
        for number in (1, 2):
            copy_chunk(other, live, number)
        await until(pilot, lambda: sum(histogram_of(app).upper) > 60, "the growing histogram")
        (live / STOP_FILE).touch()
        worker.bury()
        await until(pilot, lambda: "■ stopped" in text_of(app), "the end")
        assert "r resumes" in text_of(app)


async def test_without_results_every_tab_says_the_next_key(own_folders):
    worker = Worker()
    directory = record_run(own_folders, chunks=[], finished=False, identity=worker.identity)
    worker.bury()
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        for tab in ("layers", "classes", "epsilon", "images", "evidence", "study"):
            app.screen.query_one(TabbedContent).active = tab
            await settled(pilot)
            assert "Press r to resume" in text_of(app), tab


async def test_beside_the_shift_beyond_noise_stands_its_own_p(own_folders):
    directory = record_run(own_folders, controls="sign-noise,gaussian", shift=0.004)
    row = next(row for row in table_rows(load_run(directory), "layers") if row["condition"] == "fgsm@0.03")
    assert format_cell(row["p_noise_holm"], "p") != format_cell(row["p_holm"], "p")
    async with running(own_folders, (200, 40), open_directory=directory) as (app, pilot):
        await rows_are_there(app, pilot)
        table = app.screen.query_one("#layer-table")
        titles, cells = (line.split("\t") for line in table.tab_separated().splitlines()[:2])
        place = titles.index("beyond, sd")
        assert (titles[place + 1], cells[place + 1]) == ("p noise", format_cell(row["p_noise_holm"], "p"))


async def test_silent_images_are_counted_and_left_out(own_folders):
    directory = record_run(own_folders, silent=7)
    async with running(own_folders, (200, 40), open_directory=directory) as (app, pilot):
        await rows_are_there(app, pilot)
        table = app.screen.query_one("#layer-table")
        cells = dict(zip(table.shown_titles, table.tab_separated().splitlines()[3].split("\t"), strict=True))
        assert (cells["layer"], cells["silent"]) == ("fc1", "7")
        await press(pilot, "left_square_bracket")
        assert histogram_of(app).upper_name.startswith("benign, 53 ")


@pytest.mark.parametrize("size", [NARROW, WIDE, (200, 60), (100, 30)])
async def test_no_key_column_is_clipped_at_any_size(own_folders, size):
    async with running(own_folders, size, open_directory=record_run(own_folders)) as (app, pilot):
        await rows_are_there(app, pilot)
        table = app.screen.query_one("#layer-table")
        assert {"layer", "peak L", "Δ PSI", "Δ-control", "beyond, sd"} <= set(table.shown_titles)
        assert table.virtual_size.width <= table.size.width
        assert table.max_scroll_x == 0


async def test_what_is_chosen_while_statistics_are_under_way_is_asked_for_after_them(own_folders):
    directory = record_run(own_folders, images=2000, chunk=1000)
    async with running(own_folders, WIDE) as (app, pilot):
        app.open_run(directory)
        await until(pilot, lambda: app.screen.NAME == "results" and app.screen.choices is not None, "the run")
        await pilot.press("f", "f")  # At once: the first table is on its way.
        await until(pilot, lambda: app.screen.view.tables.get("layers"), "the rows of the subset")
        assert {row["subset"] for row in app.screen.view.tables["layers"]} == {"fooled"}


async def test_statistics_that_could_not_be_had_are_asked_for_again(own_folders, monkeypatch):
    directory = record_run(own_folders)
    refusals = iter([RunError("engine: planted; wait")])
    async with running(own_folders, WIDE) as (app, pilot):
        ask = app.statistics.ask

        def sometimes(kind, **fields):
            for error in refusals:
                raise error
            return ask(kind, **fields)

        monkeypatch.setattr(app.statistics, "ask", sometimes)
        app.open_run(directory)
        await until(pilot, lambda: "planted" in text_of(app), "the refusal")
        await until(pilot, lambda: "AUROC" in text_of(app), "the second try")


async def test_an_image_that_is_left_at_once_leaves_no_trace(own_folders):
    directory = record_run(own_folders, images=400, chunk=200)
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        app.screen.query_one(TabbedContent).active = "images"
        await settled(pilot)
        for _ in range(5):
            await pilot.press("enter", "escape")
        await settled(pilot)
        assert app.is_running
        assert len(app.screen_stack) == 1


async def test_esc_brings_a_large_pane_back_before_it_leaves(own_folders):
    async with running(own_folders, WIDE, open_directory=record_run(own_folders)) as (app, pilot):
        app.screen.query_one(TabbedContent).active = "images"
        await settled(pilot)
        await press(pilot, "plus")
        assert app.screen.maximized is not None
        await press(pilot, "escape")
        assert app.screen.maximized is None
        assert app.current_mode == "results"


async def test_the_log_is_as_wide_as_its_pane_for_every_run_and_after_every_resize(own_folders):
    directories = [record_run(own_folders, name=name) for name in ("one", "two")]
    async with running(own_folders, WIDE, open_directory=directories[0]) as (app, pilot):
        app.screen.tabs.active = "log"
        await settled(pilot)
        app.open_run(directories[1])
        for size in (WIDE, NARROW, WIDE):
            await pilot.resize_terminal(*size)
            log = app.screen.query_one("#events", WorkerLog)
            await until(pilot, lambda log=log: log.lines, "the events")
            await settled(pilot)
            widest = max(len(line.text.rstrip()) for line in log.lines)
            assert min(80, 0.8 * size[0]) < widest <= log.scrollable_content_region.width


async def test_the_palette_verifies_the_open_run(own_folders, monkeypatch):
    said = []
    directory = record_run(own_folders, name="mine")
    async with running(own_folders, open_directory=directory) as (app, pilot):
        await until(pilot, lambda: app.screen.view is not None, "the run")
        (verify,) = [act for text, act in app.screen.places() if text.startswith("verify")]
        monkeypatch.setattr(app, "say", said.append)
        verify()
        await until(pilot, lambda: bool(said), "its verdict")
        assert said.pop() == "mine, right: layers, chunks, other files; not checked: configuration, weights"
        chunk_path(directory, 1).write_bytes(b"torn")
        verify()
        await until(pilot, lambda: bool(said), "what is wrong")
        assert said.pop().startswith("mine, wrong: chunks: 1 of 3 wrong")


async def test_a_tab_that_has_the_focus_no_more_takes_no_other_ones_place(own_folders):
    async with running(own_folders, open_directory=record_run(own_folders)) as (app, pilot):
        tabs = app.screen.query_one(TabbedContent)
        tabs.active = "images"
        await settled(pilot)
        tabs.active = "evidence"
        late = tabs.query_one("#images", TabPane)
        late.post_message(TabPane.Focused(late))  # As a slow machine tells it.
        await settled(pilot)
        assert tabs.active == "evidence"


async def test_what_an_open_chunk_showed_goes_with_its_worker(own_folders):
    worker = Worker()
    directory = record_run(own_folders, chunks=[0], finished=False, identity=worker.identity)
    chunk_path(directory, 0).rename(preview_path(directory, 0))
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        shown = (" % under fgsm@0.03", "Evidence x", "conv1: ")
        await until(pilot, lambda: all(words in text_of(app) for words in shown), "all that the open chunk tells")
        worker.bury()
        await until(pilot, lambda: "No results: the run is lost" in text_of(app), "the end")
        await settled(pilot)
        assert not [words for words in shown if words in text_of(app)]
        for tab in TABS:
            app.screen.tabs.active = tab.name
            await settled(pilot)
            assert not app.screen.view.tables
