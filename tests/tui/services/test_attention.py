"""What comes by itself, a run that has begun or an error, takes no key from what the user is at."""

import shutil
import threading
from contextlib import asynccontextmanager

import pytest
from textual.widgets import Input

from psi_core.errors import RunError
from psi_tui.services import services
from psi_tui.widgets.dialogs import ErrorDialog
from tests.recorded import record_run
from tests.tui.apps import answered, press, running, settled, text_of, until

pytestmark = pytest.mark.usefixtures("warm_engine")


@asynccontextmanager
async def starting(own_folders, monkeypatch, open_directory=None):
    """The app after `r` in the form; the run begins once the event is set."""
    directory, may_begin = record_run(own_folders, name="begun"), threading.Event()
    monkeypatch.setattr(services, "start_child", lambda _do, **_fields: may_begin.wait(60) and directory)
    async with running(own_folders, open_directory=open_directory) as (app, pilot):
        await press(pilot, "3")
        await type_in(pilot, "r")
        yield app, pilot, directory, may_begin
        may_begin.set()
        await settled(pilot)


async def type_in(pilot, *keys):
    """Presses keys while a run may be starting: its worker is at work all the time."""
    await pilot.press(*keys)
    await answered(pilot)


AWAY = {
    "into a field": (("G", "enter", "n"), "new_run", ("q", "n"), "nqn"),
    "over the form": (("j",), "new_run", (), None),
    "into a filter": (("1", "slash", "n"), "runs", ("q", "x"), "nqx"),
    "into the palette": (("ctrl+p", "n"), "new_run", ("q",), "nq"),
}
"""Keys after `r`, the screen where they lead, keys once the run has begun, and what stands in the field then."""


async def test_a_run_does_not_open_under_whoever_has_gone_on(own_folders, monkeypatch):
    async with starting(own_folders, monkeypatch) as (app, pilot, directory, may_begin):
        for way, (keys, screen, more, typed) in AWAY.items():
            await type_in(pilot, *keys)
            may_begin.set()
            await until(pilot, lambda: "the run has begun; 4 shows it" in app.heard, "the sentence")
            await type_in(pilot, *more)
            assert app.is_running, way
            assert app.current_mode == screen, way
            assert typed is None or app.focused.value == typed, way
            await type_in(pilot, *["escape"] * (typed is not None), "4")
            await until(pilot, lambda: app.screen.is_ready and app.current_mode == "results", "the run")
            assert app.open_directory == directory
            app.close_run()
            app.heard.clear()
            may_begin.clear()
            await settled(pilot)
            await type_in(pilot, "3", "D", "r")


async def test_a_key_that_waits_for_its_turn_counts_too(own_folders, monkeypatch):
    async with starting(own_folders, monkeypatch) as (app, pilot, _, may_begin):
        monkeypatch.setattr(type(app), "has_keys_waiting", True)
        may_begin.set()
        await until(pilot, lambda: "the run has begun; 4 shows it" in app.heard, "the sentence")
        assert app.current_mode == "new_run"


async def test_a_run_opens_for_whoever_waits_and_says_so_once_more(own_folders, monkeypatch):
    async with starting(own_folders, monkeypatch) as (app, pilot, directory, may_begin):
        await type_in(pilot, "j", "r")
        assert "it opens by itself" in app.heard[-1]
        may_begin.set()
        await until(pilot, lambda: app.current_mode == "results", "the run")
        assert app.open_directory == directory


async def test_the_run_that_is_looked_at_stays(own_folders, monkeypatch):
    other = record_run(own_folders, name="other")
    async with starting(own_folders, monkeypatch, open_directory=other) as (app, pilot, _, may_begin):
        await type_in(pilot, "4")
        may_begin.set()
        await until(pilot, lambda: "the run has begun; 1 lists it" in app.heard, "the sentence")
        assert app.open_directory == other


async def test_the_open_run_that_is_removed_elsewhere_interrupts_nobody_on_another_screen(own_folders):
    directory = record_run(own_folders, name="mine")
    async with running(own_folders, open_directory=directory) as (app, pilot):
        await press(pilot, "3", "G", "enter", "n")
        shutil.rmtree(directory)
        await until(pilot, lambda: app.open_directory is None, "the end of the run")
        await press(pilot, "q", "n")
        assert (app.current_mode, len(app.screen_stack)) == ("new_run", 1)
        assert app.focused.value == "nqn"
        assert f"{directory}: moved or deleted elsewhere; choose another run" in app.heard


async def test_whoever_looks_at_a_run_that_is_removed_is_told_and_has_the_list(own_folders):
    directory = record_run(own_folders, name="mine")
    async with running(own_folders, open_directory=directory) as (app, pilot):
        shutil.rmtree(directory)
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the dialog")
        await settled(pilot)
        assert app.current_mode == "runs"
        assert "Next: choose another run" in text_of(app)


async def test_a_dialog_over_a_text_that_is_typed_is_left_by_escape_alone(own_folders):
    directory = record_run(own_folders, name="mine")
    async with running(own_folders, open_directory=directory) as (app, pilot):
        await press(pilot, "slash", "c")
        field = app.focused
        assert isinstance(field, Input)
        shutil.rmtree(directory)
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the dialog")
        await press(pilot, "q", "enter", "n")
        assert isinstance(app.screen, ErrorDialog), "nobody can have read it"
        await press(pilot, "escape", "escape")
        assert (app.current_mode, len(app.screen_stack)) == ("runs", 1)
        app.show_error(RunError("run: no"))
        await settled(pilot)
        await press(pilot, "q")
        assert len(app.screen_stack) == 1, "where nothing is typed, other keys leave it too"
