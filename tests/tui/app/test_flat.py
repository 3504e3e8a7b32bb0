"""What must not grow with time or with the number of runs: memory, handles, threads, and the time of an update."""

import gc
import json
import os
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakSet

import pytest

from psi_core.runs.chunks import chunk_path, read_arrays, write_arrays
from psi_core.runs.event_log import EventLog, events_path, preview_path
from psi_core.runs.events import BatchDone, PhaseBegan, event_line
from psi_tui.runs import open_run, watcher
from tests.core.living import Worker
from tests.recorded import record_run
from tests.tui.apps import NARROW, WIDE, press, running, settled, text_of, until

RUNS, EVENTS = 200, 200_000

UPDATES = 7200
"""An hour of a worker that tells twice a second how far it is; here they follow each other as fast as they are seen."""

MB_PER_UPDATE = 0.001
"""What the app may grow by once its memos are full: from update 2,000 to 6,800, 0.0002 were measured."""

UPDATES_TO_FILL, MB_TO_FILL = 1800, 8
"""What bounded memos and the allocator's arenas take before, from update 400 on: 6.4 MB were measured."""

PER_PREVIEW = 20
"""Updates from one look at the results to the next: ten seconds of them."""


@pytest.mark.usefixtures("warm_engine")
async def test_what_was_on_screen_and_what_was_read_is_let_go(own_folders, monkeypatch, alive):
    monkeypatch.setattr(open_run, "_RESULTS_SECONDS", 0)
    directory = record_run(own_folders, images=60, chunk=25, chunks=[0], finished=False, identity=alive)
    other = record_run(own_folders.parent / "elsewhere", images=60, chunk=25)
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        seen = WeakSet(held(app))
        for tab, preview in (("log", 1), ("classes", 2), ("layers", 1)):
            before = app.snapshot.run
            write_arrays(preview_path(directory, 0), read_arrays(chunk_path(other, preview)))
            app.screen.query_one("#tabs").active = tab
            await until(pilot, lambda before=before: app.snapshot.run is not before, "the new results")
            await settled(pilot)
            seen.update(held(app))
        for key in ("colon", "question_mark", "y", "1"):
            await press(pilot, key)
            seen.update(held(app))
            await press(pilot, "escape")
        assert len(seen) > len([*held(app)])
        del before
        gc.collect()
        left = Counter(type(each).__name__ for each in seen - WeakSet(held(app)))
    assert left.pop("Run", 0) <= 2  # A tab out of sight keeps what it showed last.
    assert not left


def held(app) -> Iterator[object]:
    """All widgets of the screens that are there, what is remembered of its lines, and what was read of the open run."""
    yield app.snapshot.run
    for screen in (screen for stack in app._screen_stacks.values() for screen in stack):
        for widget in screen.walk_children():
            yield widget
            yield widget._styles_cache


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_two_hundred_runs_a_long_log_and_an_hour_of_updates_leave_it_as_it_was(own_folders, monkeypatch, capsys):
    monkeypatch.setattr(watcher, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(open_run, "_RESULTS_SECONDS", 0.2)
    updates = int(os.environ.get("PSI_TEST_UPDATES", UPDATES))
    for place in range(RUNS - 1):
        record_run(own_folders, name=f"run {place}", images=4, chunk=4)
    worker = Worker()
    directory = record_run(own_folders, images=60, chunk=25, chunks=[0], finished=False, identity=worker.identity)
    other = record_run(own_folders.parent / "elsewhere", images=60, chunk=25)
    preview = read_arrays(chunk_path(other, 1))
    log = EventLog(events_path(directory, 0))
    log.write(PhaseBegan(phase="run"))
    with log.path.open("a", encoding="utf-8") as file:
        line = json.dumps(event_line(progress(0)))
        notes = json.dumps({"event": "warning", "time": time.time(), "text": "a warning among many"})
        file.writelines(f"{notes if place % 100 == 0 else line}\n" for place in range(EVENTS))

    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        app.screen.query_one("#tabs").active = "log"
        await until(pilot, lambda: "a warning among many" in text_of(app), "the log", 120)
        assert sum(not entry.is_example for entry in app.entries) == RUNS
        seconds, found = [], []
        for update in range(1, updates + 1):
            if update % PER_PREVIEW == 0:
                write_arrays(preview_path(directory, 0), preview)
                app.screen.query_one("#tabs").active = ("log", "layers", "classes")[update // PER_PREVIEW % 3]
            began = time.perf_counter()
            log.write(progress(update))
            await until(
                pilot, lambda update=update: app.snapshot.progress.images_per_second == update + 1, "the update"
            )
            seconds.append(time.perf_counter() - began)
            if update % (updates // 8) == 0:
                app.screen.query_one("#tabs").active = "log"
                await settled(pilot)
                found.append(usage(app))
    worker.bury()

    parts = [seconds[start : start + updates // 8] for start in range(0, updates, updates // 8)]
    medians = [statistics.median(part) for part in parts]
    with capsys.disabled():
        for use, median in zip(found, medians, strict=False):
            sys.stdout.write(f"{ ({**use, 'update, ms': round(1000 * median, 1)}) }\n")
    before, after = found[1], found[-1]
    fills = MB_TO_FILL if updates / 4 < UPDATES_TO_FILL else 0
    assert after["MB"] < before["MB"] + MB_PER_UPDATE * updates * 3 / 4 + fills
    assert after["statistics, MB"] < before["statistics, MB"] + 5
    assert after["handles"] <= before["handles"] + 4  # Watchers open files and close them.
    assert after["threads"] <= before["threads"] + 2
    assert medians[-1] < 2 * medians[1]


def progress(update: int) -> BatchDone:
    """What the worker says at an update; its rate tells which one it is."""
    return BatchDone(done=25, total=60, images_per_second=float(update + 1), batch=25, memory=2e9, seconds={})


def usage(app) -> dict[str, float]:
    """What the app holds now, and the child that makes its tables."""
    gc.collect()
    child = app.statistics._process
    return {
        "MB": resident("self"),
        "statistics, MB": resident(str(child.pid)) if child else 0.0,
        "handles": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
    }


def resident(process: str) -> float:
    """Memory of a process in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
