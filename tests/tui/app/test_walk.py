"""Random walks over every key with live runs: no exception, no picture of what its words do not say, no run lost."""

import random

import pytest

from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import BatchDone, PhaseBegan
from psi_core.runs.finding import list_runs
from psi_core.runs.trash import trashed_runs
from psi_tui.services import services
from tests.core.living import Worker
from tests.engine.processes import new_run, start_worker
from tests.recorded import record_run
from tests.tui.app.test_bursts import ALL_KEYS, burst
from tests.tui.app.test_what_is_shown import watched, wrong_pictures
from tests.tui.apps import NARROW, WIDE, running

__all__ = ["watched"]

pytestmark = pytest.mark.usefixtures("warm_engine")

KEYS = [key for keys in (*ALL_KEYS, "Nw|", ("home", "end", "ctrl+u", "shift+tab")) for key in keys]


def runs_there(folder):
    return {run.id for run in list_runs(examples=False)} | {path.name for path in trashed_runs(folder)}


async def walk(folder, size, keys, seed, watched, monkeypatch, tmp_path, grow):
    """Presses random keys in bursts, and lets the live runs grow after each; after `q` the app is started again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(services, "start_child", lambda _do, **_fields: folder)
    generator = random.Random(seed)
    there = len(runs_there(folder))
    left = keys
    while left > 0:
        async with running(folder, size) as (app, pilot):
            while left > 0 and app.is_running:
                count = min(left, generator.choice((1, 5, 10, 20)))
                typed = generator.choices(KEYS, k=count)
                await burst(pilot, *typed)
                left -= count
                assert app._exception is None, typed
                assert watched == [], typed
                if app.is_running and app.screen_stack:
                    assert wrong_pictures(app) == [], typed
                assert len(runs_there(folder)) == there, typed
                grow()


@pytest.fixture
def live(own_folders):
    """A finished run, one that a living process works at, and what lets it grow."""
    worker = Worker()
    record_run(own_folders, name="done", epsilon="0.03,0.1", shift=0.02)
    record_run(own_folders, name="alone", attack="none", controls="none", seed=3)
    directory = record_run(
        own_folders, name="live", images=200, chunk=25, chunks=[0, 1], finished=False, identity=worker.identity, seed=5
    )
    log = EventLog(events_path(directory, 0))
    log.write(PhaseBegan(phase="run"))
    done = 0

    def grow():
        nonlocal done
        done = min(150, done + 5)
        log.write(BatchDone(chunk=2, done=done, total=150, batch=25, images_per_second=30.0))

    yield grow
    worker.bury()


async def test_two_hundred_keys_end_nothing_and_lose_no_run(own_folders, live, watched, monkeypatch, tmp_path):
    await walk(own_folders, NARROW, 200, 8, watched, monkeypatch, tmp_path, live)


@pytest.mark.long
@pytest.mark.parametrize("size", [NARROW, WIDE, (200, 60)], ids=["80x24", "140x40", "200x60"])
async def test_five_thousand_keys_do_neither(own_folders, live, watched, monkeypatch, tmp_path, size):
    directory = new_run(own_folders, images=2000, chunk=100, batch=50, epsilon=[0.1])
    worker = start_worker(directory)
    try:
        await walk(own_folders, size, 5000, size[0], watched, monkeypatch, tmp_path, live)
    finally:
        worker.kill()
        worker.wait()
