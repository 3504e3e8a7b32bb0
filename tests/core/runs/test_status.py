"""Status: the first that holds, from what the files and the process table say now."""

import itertools
import os
import time

import pytest

from psi_core.errors import RunError
from psi_core.runs.chunks import CHUNKS, chunk_path
from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import (
    BatchDone,
    Failed,
    Finished,
    FitAdvanced,
    Heartbeat,
    PhaseBegan,
    Started,
    Stopped,
    UnknownEvent,
    Warned,
)
from psi_core.runs.processes import STALE_SECONDS
from psi_core.runs.status import STOP_FILE, StatusReader, request_stop, status_of

CHUNK_COUNT = 3


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "run" / CHUNKS).mkdir(parents=True)
    return tmp_path / "run"


def finish_chunks(directory, numbers):
    for number in numbers:
        chunk_path(directory, number).touch()


def status(directory):
    return status_of(directory, CHUNK_COUNT, StatusReader(directory).poll())


def record(directory, number, identity, *events):
    log = EventLog(events_path(directory, number))
    log.write(Started(**identity))
    for event in events:
        log.write(event)


@pytest.mark.parametrize(
    "facts", list(itertools.product([True, False], repeat=5)), ids=lambda f: "".join("ny"[x] for x in f)
)
def test_status_is_the_first_that_holds(facts, directory, alive, dead):
    is_alive, has_all, has_failed, has_stop, was_started = facts
    if was_started:
        record(directory, 1, dead)
    if is_alive:
        record(directory, 0, alive)
    if has_failed:
        record(directory, 2, dead, Failed())
    if has_stop:
        (directory / STOP_FILE).touch()
    finish_chunks(directory, range(CHUNK_COUNT if has_all else CHUNK_COUNT - 1))
    claims = [
        (is_alive, "running"),
        (has_all, "done"),
        (has_failed, "failed"),
        (has_stop, "stopped"),
        (not was_started, "queued"),
        (True, "lost"),
    ]
    assert status(directory) == next(name for holds, name in claims if holds)


@pytest.mark.parametrize("strays", [[3, 4], [7]])
def test_chunks_beyond_the_run_do_not_finish_it(strays, directory, dead):
    record(directory, 0, dead)
    finish_chunks(directory, [0, 1, *strays])
    assert status(directory) == "lost"


@pytest.mark.parametrize("age", [-5, 5])
def test_elsewhere_a_worker_runs_while_its_heartbeat_is_fresh(age, directory, dead):
    record(directory, 0, {**dead, "boot_id": "elsewhere"}, Heartbeat())
    then = time.time() - STALE_SECONDS - age
    os.utime(events_path(directory, 0), (then, then))
    assert status(directory) == ("running" if age < 0 else "lost")


@pytest.mark.parametrize(("last", "expected"), [(Finished(), "lost"), (Stopped(), "stopped"), (Failed(), "failed")])
def test_a_worker_that_said_goodbye_is_gone_at_once(last, expected, directory, alive):
    record(directory, 0, alive, last, Heartbeat())
    assert status(directory) == expected


def test_the_last_word_of_all_workers_counts(directory, dead, monkeypatch):
    record(directory, 1, dead, Failed())
    monkeypatch.setattr("psi_core.runs.event_log.time.time", lambda: 2e10)
    record(directory, 0, dead)
    assert status(directory) == "lost"


def test_of_two_last_words_at_once_the_failure_counts(directory, dead, monkeypatch):
    monkeypatch.setattr("psi_core.runs.event_log.time.time", lambda: 1e9)
    record(directory, 0, dead)
    record(directory, 1, dead, Failed())
    record(directory, 2, dead)
    assert status(directory) == "failed"


def test_a_second_start_forgets_the_first(directory, alive, dead):
    reader = StatusReader(directory)
    record(directory, 0, dead, Failed())
    EventLog(events_path(directory, 0)).write(Warned(text="old"))
    (worker,) = reader.poll()
    assert (worker.is_alive, worker.warnings) == (False, ["old"])
    record(directory, 0, alive)
    (worker,) = reader.poll()
    assert (worker.is_alive, worker.warnings, worker.progress) == (True, [], None)


def test_a_worker_tells_phase_progress_and_warnings(directory, alive):
    log = EventLog(events_path(directory, 0))
    reader = StatusReader(directory)
    assert reader.poll() == []
    log.write(Started(**alive))
    assert reader.poll()[0].phase == "load"
    log.write(PhaseBegan(phase="fit"))
    log.write(FitAdvanced(done=1))
    assert reader.poll()[0].progress.done == 1
    log.write(PhaseBegan(phase="run"))
    assert reader.poll()[0].progress is None
    log.write(BatchDone(done=25))
    log.write(Warned(text="batch 512 -> 256"))
    log.write(UnknownEvent("of a newer version"))
    (worker,) = reader.poll()
    assert (worker.number, worker.phase, worker.progress.done) == (0, "run", 25)
    assert worker.warnings == ["batch 512 -> 256"]
    assert worker.last.kind == "of a newer version"


def test_workers_come_by_rank_whenever_they_come(directory, dead):
    reader = StatusReader(directory)
    record(directory, 10, dead)
    assert [worker.number for worker in reader.poll()] == [10]
    record(directory, 2, dead)
    assert [worker.number for worker in reader.poll()] == [2, 10]


def test_every_prefix_of_a_log_has_a_status(directory, alive):
    record(directory, 0, alive, BatchDone(), Failed())
    path = events_path(directory, 0)
    whole = path.read_bytes()
    seen = []
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        seen.append(status(directory))
    assert [name for name, _ in itertools.groupby(seen)] == ["queued", "running", "failed"]


def test_a_request_to_stop_is_written_through_no_link(directory, tmp_path):
    (directory / STOP_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="is a link"):
        request_stop(directory)
    assert not (tmp_path / "elsewhere").exists()
    (directory / STOP_FILE).unlink()
    request_stop(directory)
    request_stop(directory)
    assert (directory / STOP_FILE).stat().st_size == 0
