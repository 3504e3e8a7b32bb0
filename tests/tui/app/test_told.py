"""What the app tells beside the numbers is whole at 80 columns, names what it is about, and stands where it belongs."""

import numpy as np
import pytest
from textual.command import CommandPalette

from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import BatchDone, Failed, PhaseBegan, Stopped
from psi_core.runs.finding import load_run
from psi_core.runs.status import STOP_FILE
from psi_tui.plots.themes import THEMES
from psi_tui.screens.results.images.picture import PictureDialog
from psi_tui.screens.results.images.pixels import Picture
from tests.core.living import Worker
from tests.recorded import copy_chunk, record_run
from tests.tui.apps import NARROW, WIDE, press, running, settled, text_of, until


async def test_the_palette_changes_the_theme(own_folders):
    async with running(own_folders) as (app, pilot):
        for theme in reversed([theme.name for theme in THEMES]):  # The first is there already.
            await press(pilot, "ctrl+p")
            await until(pilot, lambda: isinstance(app.screen, CommandPalette), "the palette")
            await press(pilot, *theme.removeprefix("psi-"), "enter")
            await until(pilot, lambda: not isinstance(app.screen, CommandPalette), "its end")
            assert app.theme == theme


async def test_another_image_never_stands_beside_the_picture_of_the_first(own_folders):
    directory = record_run(own_folders, name="mine")
    async with running(own_folders, open_directory=directory) as (app, pilot):
        dialog = PictureDialog(load_run("mine"), 0, "fgsm@0.03", [0, 1])
        app.push_screen(dialog)
        await until(pilot, lambda: dialog.is_mounted and dialog.query(Picture), "the dialog")
        await settled(pilot)
        for picture in dialog.query(Picture):
            picture.pixels = np.zeros((28, 28))
        dialog.action_step(1)
        assert all(picture.pixels is None for picture in dialog.query(Picture))


async def test_the_cursor_is_in_the_images_as_soon_as_there_are_some(own_folders):
    worker = Worker()
    whole = record_run(own_folders.parent / "other")
    before = record_run(own_folders, name="before")
    directory = record_run(own_folders, name="live", chunks=[], finished=False, identity=worker.identity)
    async with running(own_folders, open_directory=before) as (app, pilot):
        app.screen.query_one("#tabs").active = "images"
        await until(pilot, lambda: "rows 1-" in text_of(app), "the images of the run before")
        app.open_run(directory)
        await until(pilot, lambda: "No image is through yet" in text_of(app), "the new run")
        await settled(pilot)
        for number in (0, 1):
            copy_chunk(whole, directory, number)
        await until(pilot, lambda: "rows 1-" in text_of(app), "the images")
        await until(pilot, lambda: app.focused is not None and app.focused.id == "image-table", "the cursor")
    worker.bury()


async def test_the_images_name_their_condition(own_folders):
    directory = record_run(own_folders, name="mine")
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        app.screen.query_one("#tabs").active = "images"
        await until(pilot, lambda: "rows 1-" in text_of(app), "the images")
        for _ in load_run("mine").conditions[1:]:
            assert f"benign and {app.screen.choices.condition}" in text_of(app)
            await press(pilot, "c")


async def test_the_correlation_over_classes_is_whole_at_80_columns(own_folders):
    directory = record_run(own_folders, name="mine", images=400, chunk=200)
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        app.screen.query_one("#tabs").active = "classes"
        await until(pilot, lambda: "r over 10 classes" in text_of(app), "the correlation")
        for _ in load_run("mine").conditions[1:]:
            (line,) = [line for line in text_of(app).splitlines() if "r over 10 classes" in line]
            assert line.count("(p ") == 2
            assert line.endswith(")")
            await press(pilot, "c")


async def test_a_stopped_run_tells_how_far_it_came_and_the_next_key_at_80_columns(own_folders):
    directory = record_run(own_folders, name="mine", chunks=[0], finished=False)
    EventLog(events_path(directory, 0)).write(Stopped())
    (directory / STOP_FILE).touch()
    async with running(own_folders, NARROW, open_directory=directory) as (app, _):
        assert "images are there; r resumes\n" in text_of(app)


@pytest.mark.parametrize("size", [NARROW, WIDE])
async def test_a_long_reason_of_a_failure_hides_neither_how_far_it_came_nor_the_next_key(own_folders, size):
    directory = record_run(own_folders, name="mine", chunks=[0], finished=False)
    EventLog(events_path(directory, 0)).write(Failed(error="the network burst: " + "much went wrong, " * 30))
    async with running(own_folders, size, open_directory=directory) as (app, _pilot):
        line = text_of(app).splitlines()[2]
        assert line.startswith(" the network burst")
        assert "…; 25 of 60 images are there; r resumes" in line
        assert len(line) <= size[0]


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize(("behind", "told"), [(": chunk 1", "chunk 1"), ("/chunks/00001.npz:", "chunks/00001.npz:")])
async def test_the_path_of_a_run_hides_no_cause(own_folders, elsewhere, behind, told):
    directory = record_run(own_folders / "of a project", name="mine", chunks=[0], finished=False)
    path = f"/mnt/{'far/' * 20}{directory.name}" if elsewhere else directory
    EventLog(events_path(directory, 0)).write(
        Failed(error=f"{path}{behind} cannot be written (No space left); free it")
    )
    async with running(own_folders, WIDE, open_directory=directory) as (app, _pilot):
        line = text_of(app).splitlines()[2]
        assert line.startswith(f" {told} cannot be written (No space left); free it; 25 of 60 images are there")


async def test_a_run_that_waits_for_a_worker_says_so_and_the_next_key(own_folders):
    directory = record_run(own_folders, name="mine", chunks=[], finished=False)
    for path in directory.glob("events-*"):
        path.unlink()
    async with running(own_folders, NARROW, open_directory=directory) as (app, _):
        assert "no worker has begun; r starts one here" in text_of(app)
        assert "Press r to start a worker here." in text_of(app)


async def test_both_lists_round_the_share_alike(own_folders):
    worker = Worker()
    directory = record_run(own_folders, name="mine", chunks=[0], finished=False, identity=worker.identity)
    log = EventLog(events_path(directory, 0))
    log.write(PhaseBegan(phase="run"))
    log.write(BatchDone(done=52, total=60, images_per_second=10.0, batch=4, memory=2e9, seconds={}))
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        assert " 86 %" in text_of(app)
        app.screen.query_one("#tabs").active = "log"
        await until(pilot, lambda: "memory" in text_of(app), "the event")
        assert "phase  run" in text_of(app)
        assert "phase phase" not in text_of(app)
        assert "2000000000" not in text_of(app)
        await press(pilot, "1")
        assert "running 86 %" in text_of(app)
    worker.bury()


async def test_a_name_is_told_beside_the_id_and_an_id_once(own_folders):
    record_run(own_folders, name="mine")
    async with running(own_folders, NARROW) as (app, pilot):
        entry = app.screen.current
        assert entry.name == "mine"
        assert entry.id in text_of(app)
        await press(pilot, "space")
        lines = text_of(app).splitlines()
        assert any("1 marked, c compares" in line and entry.id in line for line in lines)
