"""Workers as real processes: the same bits from one, two or three, after kill -9, stop and resume."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from psi_core.chunks import finished_chunks
from psi_core.engine import analyze
from psi_core.runs import Run
from psi_core.status import STOP_FILE
from tests.engine.processes import (
    assert_same_results,
    engine,
    events,
    new_run,
    small_config,
    start_worker,
    wait_until,
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The run done at one go in this process."""
    yield analyze(small_config(), tmp_path_factory.mktemp("reference")).directory


def test_epsilon_zero_changes_nothing(reference: Path) -> None:
    run = Run(reference)
    benign, unchanged = run.conditions.index("benign"), run.conditions.index("fgsm@0")
    for name in ("psi", "active_fraction", "mean_response", "prediction", "confidence"):
        assert np.array_equal(run.array(name)[benign], run.array(name)[unchanged], equal_nan=True)
    assert not run.array("linf")[unchanged].any()


def test_chunks_hold_what_the_design_says(reference: Path) -> None:
    run = Run(reference)
    conditions, layers, images = 5, 4, 90
    assert run.conditions == ["benign", "fgsm@0", "fgsm@0.1", "sign-noise@0.1", "anti-fgsm@0.1"]
    assert run.layers == ["conv1", "conv2", "fc1", "fc2"]
    assert run.psi.shape == (conditions, layers, images)
    assert run.psi.dtype == np.float32
    for name, kind in (("index", np.int64), ("label", np.int64), ("prediction", np.int64), ("confidence", np.float32)):
        assert run.array(name).dtype == kind
    assert run.array("linf").max() <= np.float32(0.1) + 1e-6
    labels, counts, sums = run.class_sums("conv2")
    assert counts.sum() == images
    assert sums.dtype == np.float64
    assert sums.shape == (conditions, len(labels), 16)


@pytest.mark.parametrize("workers", [2, 3])
def test_several_workers_give_the_same_bits(reference: Path, tmp_path: Path, workers: int) -> None:
    directory = new_run(tmp_path, devices=workers)
    processes = [start_worker(directory, number, workers) for number in range(workers)]
    assert [process.wait(120) for process in processes] == [0] * workers
    assert_same_results(directory, reference)


def test_torchrun_gives_the_same_bits(reference: Path, tmp_path: Path) -> None:
    directory = new_run(tmp_path)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "psi_core", "work"]
    subprocess.run([sys.executable, *launcher, str(directory)], check=True, capture_output=True, timeout=200)
    assert {event["workers"] for event in events(directory, 1) if event["event"] == "started"} == {2}
    assert_same_results(directory, reference)


def test_a_killed_run_resumes_to_the_same_bits(reference: Path, tmp_path: Path) -> None:
    directory = new_run(tmp_path)
    moments = random.Random(3)
    for _ in range(2):
        process = start_worker(directory)
        target = len(finished_chunks(directory)) + moments.randint(1, 2)
        wait_until(lambda target=target: len(finished_chunks(directory)) >= target)
        process.send_signal(signal.SIGKILL)
        # Not waited for yet: a zombie must not count as alive.
        wait_until(lambda: Run(directory).status == "lost")
        process.wait()
    assert engine("resume", str(directory)).returncode == 0
    assert Run(directory).status == "done"
    assert_same_results(directory, reference)


def test_a_survivor_takes_over_the_chunks_of_a_dead_worker(reference: Path, tmp_path: Path) -> None:
    directory = new_run(tmp_path)
    doomed = start_worker(directory, 1, 2)
    wait_until(lambda: bool(finished_chunks(directory)))
    doomed.kill()
    doomed.wait()
    assert start_worker(directory, 0, 2).wait(120) == 0
    assert_same_results(directory, reference)


def test_stop_keeps_what_is_done_and_resume_goes_on(reference: Path, tmp_path: Path) -> None:
    directory = new_run(tmp_path)
    process = start_worker(directory)
    wait_until(lambda: bool(finished_chunks(directory)))
    (directory / STOP_FILE).touch()
    assert process.wait(60) == 0
    run = Run(directory)
    assert run.status == "stopped"
    assert events(directory)[-1]["event"] == "left"
    assert run.psi.shape[-1] == len(run.index)
    assert engine("resume", str(directory)).returncode == 0
    assert_same_results(directory, reference)


@pytest.mark.parametrize(
    ("number", "whole_chunk"), [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGUSR1, False)]
)
def test_signals_leave_a_run_that_can_be_resumed(tmp_path: Path, number: signal.Signals, whole_chunk: bool) -> None:
    directory = new_run(tmp_path, images=10_000, chunk=2000, batch=5)
    process = start_worker(directory)
    wait_until(lambda: any(event["event"] == "batch" for event in events(directory)))
    process.send_signal(number)
    assert process.wait(60) == 0
    assert events(directory)[-1]["event"] == "left"
    assert finished_chunks(directory) == ([0] if whole_chunk else [])


def test_a_live_run_is_not_resumed_and_its_rank_not_taken(tmp_path: Path) -> None:
    directory = new_run(tmp_path, images=10_000, chunk=2000, batch=5)
    process = start_worker(directory)
    wait_until(lambda: Run(directory).status == "running")
    assert engine("resume", str(directory)).returncode == 2
    assert start_worker(directory).wait(60) == 1
    process.terminate()
    assert process.wait(60) == 0


def test_resume_refuses_other_weights(tmp_path: Path) -> None:
    directory = new_run(tmp_path)
    process = start_worker(directory)
    wait_until(lambda: bool(finished_chunks(directory)))
    process.kill()
    process.wait()
    card = directory / "model.json"
    card.write_text(card.read_text().replace('"sha256": "', '"sha256": "0'))
    assert engine("resume", str(directory)).returncode == 1
    last = events(directory)[-1]
    assert last["event"] == "failed"
    assert "SHA-256" in last["error"]
    assert Run(directory).status == "failed"
    assert "Traceback" in (directory / "engine-0.log").read_text()
