"""Statuses of runs that ended, moved or were copied in odd ways."""

import os
import shutil
import signal
import time

import pytest

from psi_core.errors import RunError
from psi_core.runs import processes
from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import Heartbeat, Started, Stopped
from psi_core.runs.finding import find_run
from psi_core.runs.processes import Pulse, is_alive
from psi_core.runs.run import Run
from psi_core.runs.status import StatusReader
from tests.core.living import Worker
from tests.recorded import record_run

ELSEWHERE = {"host": "elsewhere", "boot_id": "x", "pid_namespace": "x", "pid": 1, "process_start": 1}


def test_a_worker_that_left_on_a_signal_is_stopped_and_not_lost(own_folders):
    directory = record_run(own_folders, chunks=[0], finished=False)
    log = EventLog(events_path(directory, 0))
    log.write(Stopped())
    assert Run(directory).status == "stopped"
    log.write(Started(**ELSEWHERE))
    os.utime(log.path, (1e9, 1e9))
    assert Run(directory).status == "lost"


@pytest.mark.parametrize("seconds", [120, 86_400, 10**9])
def test_a_log_of_the_future_is_no_sign_of_life(own_folders, seconds):
    directory = record_run(own_folders, chunks=[0], finished=False)
    path = events_path(directory, 0)
    os.utime(path, (time.time() + seconds,) * 2)
    assert Run(directory).status == "lost"


@pytest.mark.parametrize("skew", [-7200, 7200])
def test_a_log_that_grows_is_alive_whatever_the_file_servers_clock(own_folders, skew):
    directory = record_run(own_folders, chunks=[0], finished=False)
    path, reader = events_path(directory, 0), StatusReader(directory)
    os.utime(path, (time.time() + skew,) * 2)
    assert not reader.poll()[0].is_alive
    EventLog(path).write(Heartbeat())
    os.utime(path, (time.time() + skew + 10,) * 2)
    assert reader.poll()[0].is_alive
    assert reader.poll()[0].is_alive


def test_a_log_that_no_longer_grows_is_dead_after_a_minute(own_folders, monkeypatch):
    directory = record_run(own_folders, chunks=[0], finished=False)
    path, pulse, started = events_path(directory, 0), Pulse(), Started(**ELSEWHERE)
    for later in (7200, 7210):
        os.utime(path, (time.time() + later,) * 2)
        is_alive(started, path, pulse)
    assert is_alive(started, path, pulse)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert not is_alive(started, path, pulse)


def test_two_copies_of_one_run_are_told_apart_by_their_places(own_folders):
    directory = record_run(own_folders, name="mine")
    copy = shutil.copytree(directory, own_folders / "copy")
    with pytest.raises(RunError) as caught:
        find_run("mine")
    assert str(directory) in str(caught.value)
    assert str(copy) in str(caught.value)
    assert find_run(str(copy)) == copy


def test_a_worker_that_is_held_is_paused_until_it_goes_on(own_folders):
    worker = Worker()
    directory = record_run(own_folders, chunks=[0], finished=False, identity=worker.identity)
    assert Run(directory).status == "running"
    for number, state, expected in ((signal.SIGSTOP, "T", "paused"), (signal.SIGCONT, "S", "running")):
        os.kill(worker.identity["pid"], number)
        while processes._process(worker.identity["pid"])[0] not in (state, "R" if state == "S" else state):
            time.sleep(0.005)
        assert Run(directory).status == expected
    worker.bury()
    assert Run(directory).status == "lost"
