"""A run under way as the app tells it: what is left, what went wrong, what it costs to look."""

import shutil
import sys
import threading
import time

import pytest

from psi_core.runs import event_log, processes
from psi_core.runs.event_log import EventLog, events_path, preview_path
from psi_core.runs.events import BatchDone, Failed, PhaseBegan, Stopped, Warned
from psi_core.runs.status import StatusReader
from psi_tui.engine.client import Client
from psi_tui.runs.open_run import RunReader
from psi_tui.runs.progress import progress_of
from psi_tui.runs.run_list import RunList, results_stamp
from psi_tui.runs.watcher import ReadingFailed, RunAdvanced, RunsWatcher, RunWatcher, WatchingFailed
from psi_tui.screens.results.log import _EVENTS, _RunEvents
from psi_tui.services import services
from psi_tui.widgets.dialogs import ErrorDialog
from tests.core.living import Worker
from tests.engine.processes import new_run, start_worker
from tests.recorded import record_run
from tests.tui.apps import NARROW, WIDE, running, settled, text_of, until

pytestmark = pytest.mark.usefixtures("warm_engine")


@pytest.mark.alone
def test_the_time_left_is_right_within_a_fifth_after_a_tenth_of_a_steady_run(own_folders):
    told = []
    for _ in range(5):  # Something else may take the cores from a run; then it is not steady.
        promised, took = promised_and_taken(own_folders)
        told.append((promised, took))
        if abs(promised - took) <= 0.2 * took:
            return
    raise AssertionError(told)


def promised_and_taken(own_folders):
    """Seconds that were promised after a tenth of a run, and those that it took from there."""
    directory = new_run(own_folders, images=6000, chunk=500, batch=50, epsilon=[0.1])
    worker = start_worker(directory)
    try:
        run, reader, promised, at = RunReader(directory).poll().run, StatusReader(directory), None, 0.0
        while worker.poll() is None:
            progress = progress_of(run, reader.poll())
            if promised is None and progress.phase == "run" and progress.done >= 600:
                promised, at = progress.seconds_left, time.monotonic()
            time.sleep(0.02)
        took = time.monotonic() - at
    finally:
        worker.kill()
        worker.wait()
    assert promised is not None
    return promised, took


async def test_a_halved_batch_is_told(own_folders):
    worker = Worker()
    directory = record_run(own_folders, chunks=[0], finished=False, identity=worker.identity)
    log = EventLog(events_path(directory, 0))
    log.write(PhaseBegan(phase="run"))
    log.write(Warned(text="out of memory: batch 512 -> 256, chunk 1"))
    seconds = {"benign": 1.0, "gradient": 1.0, "attacked": 2.0}
    log.write(BatchDone(done=25, total=60, images_per_second=10.0, batch=256, memory=2e9, seconds=seconds))
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        text = text_of(app)
        assert "batch 512 -> 256" in text
        assert "25/60" in text
        assert "10 images/s" in text
        assert "gradient 25 %" in text
        app.screen.query_one("#tabs").active = "log"
        await until(pilot, lambda: "warning" in text_of(app), "the event")
    worker.bury()


def test_a_log_is_read_once_and_of_progress_only_the_last_is_told(tmp_path, monkeypatch):
    parsed, parse = [], event_log._parsed
    monkeypatch.setattr(event_log, "_parsed", lambda line: (parsed.append(line), parse(line))[1])
    followed, logs = _RunEvents(tmp_path), [EventLog(events_path(tmp_path, number)) for number in (0, 1)]
    for number, log in enumerate(logs):
        for done in range(_EVENTS):
            log.write(BatchDone(done=done, total=900))
        log.write(Warned(text=f"from {number}"))
        log.write(BatchDone(done=_EVENTS, total=900))
    lines = followed.last_lines()
    assert [line.split("  ")[1:3] for line in lines if "from" in line] == [
        ["worker 0", "warning"],
        ["worker 1", "warning"],
    ]
    assert [f"done {done}" in " ".join(lines) for done in (0, _EVENTS - 2, _EVENTS - 1, _EVENTS)] == [0, 0, 1, 1]
    assert len(lines) == 6
    count = len(parsed)
    logs[0].write(BatchDone(done=_EVENTS + 7, total=900))
    assert f"done {_EVENTS + 7}" in " ".join(followed.last_lines())
    assert len(followed.last_lines()) == 6
    assert len(parsed) == count + 1
    for place in range(_EVENTS):
        logs[1].write(Warned(text=f"note {place}"))
    assert [f"note {place}" in line for place, line in enumerate(followed.last_lines())] == [True] * _EVENTS


async def test_without_a_gpu_the_panel_says_so(own_folders):
    worker = Worker()
    directory = record_run(own_folders, chunks=[0], finished=False, identity=worker.identity)
    log = EventLog(events_path(directory, 0))
    log.write(PhaseBegan(phase="run"))
    log.write(BatchDone(done=25, total=60, images_per_second=10.0, batch=25, memory=2e9, seconds={}))
    async with running(own_folders, NARROW, open_directory=directory) as (app, _):
        assert "GPU n/a" in text_of(app)
    worker.bury()


async def test_a_tab_that_waits_says_for_what_at_the_moment(own_folders):
    worker = Worker()
    directory = record_run(own_folders, chunks=[], finished=False, identity=worker.identity)
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        assert "the model is being loaded" in text_of(app)
        EventLog(events_path(directory, 0)).write(PhaseBegan(phase="run"))
        await until(pilot, lambda: "being loaded" not in text_of(app), "the next phase")
        assert "No image is through yet" in text_of(app)
    worker.bury()


def test_a_run_is_read_again_only_where_it_changed(own_folders):
    reader = RunReader(record_run(own_folders))
    first, second = reader.poll(), reader.poll()
    assert first == second
    assert first.run is second.run
    assert first.stamp == (0, 1, 2)


def test_a_run_that_is_half_removed_is_refused_by_the_thread_and_not_on_the_screen(own_folders):
    directory, posted = record_run(own_folders), []
    watcher = RunWatcher(directory, posted.append)
    watcher.look()
    (directory / "layers.json").unlink()
    (directory / "chunks" / "00000.npz").unlink()
    watcher.look()
    assert [type(message) for message in posted] == [RunAdvanced, ReadingFailed]
    assert "layers.json" in posted[1].sentence


def test_previews_that_come_and_go_end_no_watching(own_folders):
    worker = Worker()
    directory = record_run(own_folders, chunks=[0], finished=False, identity=worker.identity)
    posted, over = [], threading.Event()

    def churn():
        while not over.is_set():
            preview_path(directory, 0).write_bytes(b"half")
            preview_path(directory, 0).unlink()

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        watcher, watched_list = RunWatcher(directory, posted.append), RunList(own_folders)
        for _ in range(300):
            watcher.look()
            results_stamp(directory, with_preview=True)
        assert [entry.progress.status for entry in watched_list.poll() if not entry.is_example] == ["running"]
    finally:
        over.set()
        churning.join()
        worker.bury()
    assert {type(message) for message in posted} == {RunAdvanced}


def test_what_a_thread_did_not_foresee_goes_to_the_app(own_folders, monkeypatch):
    def fail(_self):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(RunList, "poll", fail)
    posted = []
    watcher = RunsWatcher(own_folders, posted.append)
    watcher.start()
    watcher._thread.join(10)
    assert [type(message) for message in posted] == [WatchingFailed]
    assert str(posted[0].error) == "planted"


async def test_an_assistant_that_hangs_is_told_on_the_screen_and_its_successor_answers(own_folders, monkeypatch):
    directory = record_run(own_folders)
    python = own_folders / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setattr(services, "Client", Client)
    with monkeypatch.context() as hanging:
        hanging.setattr(sys, "executable", str(python))
        hanging.setattr(processes, "STILL_SECONDS", 0.4)
        async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
            await until(pilot, lambda: "gave no answer" in text_of(app), "the sentence")
            hanging.undo()
            await until(pilot, lambda: app.screen.view.rows("layers", "benign"), "the table", 120)
            assert "gave no answer" not in text_of(app)


async def test_a_run_that_fails_before_our_eyes_is_a_dialog_with_its_log(own_folders):
    worker = Worker()
    directory = record_run(own_folders, chunks=[0], finished=False, identity=worker.identity)
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        EventLog(events_path(directory, 0)).write(Failed(error="chunk 1: No space left on device"))
        worker.bury()
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the dialog")
        await until(pilot, lambda: text_of(app), "the dialog's text")
        text = "".join(text_of(app).replace("│", "").split())
        assert "Nospaceleftondevice" in text
        assert "Next:rresumesit" in text
        assert "engine-0.log" in text


async def test_a_run_is_resumed_once_however_often_it_is_asked_for(own_folders, monkeypatch):
    directory = record_run(own_folders, name="mine", chunks=[0], finished=False)
    EventLog(events_path(directory, 0)).write(Stopped())
    asked, may_begin = [], threading.Event()
    monkeypatch.setattr(services, "start_child", lambda do, **_fields: asked.append(do) or may_begin.wait(60))
    async with running(own_folders, NARROW) as (app, pilot):
        for _ in range(3):
            await pilot.press("r")
        await until(pilot, lambda: sum("mine is being resumed" in each for each in app.heard) == 2, "why not again")
        may_begin.set()
        await until(pilot, lambda: "mine goes on" in app.heard, "the engine")
        await settled(pilot)
        assert asked == ["resume"]
        await pilot.press("r")
        await until(pilot, lambda: len(asked) == 2, "another one: the first may have failed")


async def test_a_run_that_had_failed_before_is_no_dialog(own_folders):
    worker = Worker()
    directory = record_run(own_folders, chunks=[0], finished=False, identity=worker.identity)
    EventLog(events_path(directory, 0)).write(Failed(error="chunk 1: No space left on device"))
    worker.bury()
    async with running(own_folders, NARROW, open_directory=directory) as (app, _):
        assert not isinstance(app.screen, ErrorDialog)
        assert "No space left" in text_of(app)


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_run_that_is_removed_before_its_first_image_stays_open_no_longer(own_folders, has_begun):
    worker = Worker()
    directory = record_run(own_folders, chunks=[], finished=False, identity=worker.identity)
    if not has_begun:
        events_path(directory, 0).unlink()
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        assert app.snapshot.progress.status == ("running" if has_begun else "queued")
        shutil.rmtree(directory)
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the dialog")
        assert "moved or deleted elsewhere" in app.screen.sentence
        assert app.open_directory is None
    worker.bury()
