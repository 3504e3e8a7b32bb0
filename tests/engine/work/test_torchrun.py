"""Workers that others start, restart and kill: torchrun as it is, and launchers that let the survivors work on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from psi_core.engine import analyze
from psi_core.runs.run import Run
from psi_core.runs.status import StatusReader
from tests.engine.gated_runs import GATE, gated_network, has_begun, send, starts
from tests.engine.processes import assert_same_results, events, new_run, small_config, start_worker, wait_until


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return gated_network(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def reference(options: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run done at one go by one worker in this process."""
    return analyze(small_config(**options), tmp_path_factory.mktemp("reference")).directory


@pytest.fixture
def directory(options: dict[str, object], tmp_path: Path) -> Path:
    """The same run, with nothing computed yet."""
    return new_run(tmp_path, **options)


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that workers started from now on are slow without."""
    monkeypatch.setenv(GATE, str(tmp_path / "gate"))
    return tmp_path / "gate"


def torchrun(directory: Path, workers: int, *options: str) -> subprocess.Popen[str]:
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(workers), *options]
    command = [sys.executable, "-m", *launcher, "-m", "psi_core", "work", str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end_of(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=120)
    return process.returncode


@pytest.mark.long
def test_a_kill_ends_torchrun_and_other_workers_go_on(directory: Path, reference: Path, gate: Path) -> None:
    process = torchrun(directory, 2)
    wait_until(lambda: all(has_begun(directory, number) for number in range(2)))
    send(directory, 1, signal.SIGKILL)
    assert end_of(process) == 1
    assert events(directory)[-1]["event"] == "left"  # torchrun ends the others by SIGTERM.
    assert Run(directory).missing_chunks
    gate.touch()
    assert start_worker(directory).wait(120) == 0
    assert_same_results(directory, reference)


def test_torchrun_restarts_its_workers_by_itself(directory: Path, reference: Path, gate: Path) -> None:
    process = torchrun(directory, 2, "--max-restarts", "1")
    wait_until(lambda: all(has_begun(directory, number) for number in range(2)))
    send(directory, 1, signal.SIGUSR1)
    wait_until(lambda: events(directory, 1)[-1]["event"] == "left")
    send(directory, 0, signal.SIGKILL)
    wait_until(lambda: len(starts(directory, 0)) == 2)
    gate.touch()
    assert end_of(process) == 0
    assert [[event["workers"] for event in starts(directory, number)] for number in range(2)] == [[2, 2]] * 2
    assert_same_results(directory, reference)


def test_survivors_take_over_the_chunks_of_one_that_is_killed(directory: Path, reference: Path, gate: Path) -> None:
    processes = [start_worker(directory, number, 3) for number in range(3)]
    wait_until(lambda: all(has_begun(directory, number) for number in range(3)))
    processes[1].kill()
    wait_until(lambda: not StatusReader(directory).poll()[1].is_alive)  # Not waited for: a zombie is dead.
    gate.touch()
    assert [processes[number].wait(120) for number in (0, 2)] == [0, 0]
    processes[1].wait()
    assert_same_results(directory, reference)
