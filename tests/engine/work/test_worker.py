"""One worker as a real process: the same bits after kill -9, stop and resume. Several: see test_torchrun.py."""

import json
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from psi_core.devices import CPU, Device
from psi_core.engine import analyze
from psi_core.engine.devices import worker_device
from psi_core.engine.work.chunk_maker import ChunkMaker
from psi_core.engine.work.worker import Worker
from psi_core.errors import RunError
from psi_core.runs.chunks import finished_chunks
from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import Heartbeat, Started
from psi_core.runs.processes import own_identity
from psi_core.runs.run import Run
from psi_core.runs.status import STOP_FILE
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
    conditions, layers, images = 6, 4, 90
    assert run.conditions == ["benign", "fgsm@0", "fgsm@0.1", "sign-noise@0.1", "gaussian@0.1", "anti-fgsm@0.1"]
    assert run.layers == ["conv1", "conv2", "fc1", "fc2"]
    assert run.psi.shape == (conditions, layers, images)
    assert run.psi.dtype == np.float32
    for name, kind in (("index", np.int64), ("label", np.int64), ("prediction", np.int64), ("confidence", np.float32)):
        assert run.array(name).dtype == kind
    bounded = [each.row.norm == "linf" for each in run.condition_details]
    assert run.array("linf")[bounded].max() <= np.float32(0.1) + 1e-6
    labels, counts, sums = run.class_sums("conv2")
    assert counts.sum() == images
    assert sums.dtype == np.float64
    assert sums.shape == (conditions, len(labels), 16)


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
    assert engine("resume", is_cold=True, run=str(directory)).returncode == 0
    assert Run(directory).status == "done"
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
    assert engine("resume", run=str(directory)).returncode == 0
    assert_same_results(directory, reference)


@pytest.mark.parametrize(("number", "whole_chunk"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
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
    refused = engine("resume", run=str(directory))
    assert refused.returncode == 2
    assert "it is running" in json.loads(refused.stdout)["error"]
    with pytest.raises(RunError, match="worker 0 is at work already"):
        Worker(directory).work()
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
    assert engine("resume", run=str(directory)).returncode == 1
    last = events(directory)[-1]
    assert last["event"] == "failed"
    assert "SHA-256" in last["error"]
    assert Run(directory).status == "failed"
    assert "Traceback" in (directory / "engine-0.log").read_text()


@pytest.mark.parametrize(("local", "device"), [(0, "cuda:1"), (1, "cuda:0"), (3, "cuda:0")])
def test_a_worker_takes_the_next_device_by_its_local_rank(
    monkeypatch: pytest.MonkeyPatch, local: int, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_arch_list", list)
    assert worker_device(Device("cuda:1"), local) == device
    assert worker_device(CPU, local) == "cpu"


def test_the_run_says_how_many_threads_compute_whatever_the_launcher_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = new_run(tmp_path, images=10, threads=3)
    seen = []

    def first_images(maker: ChunkMaker, positions: object) -> None:
        seen.append(torch.get_num_threads())

    monkeypatch.setattr(ChunkMaker, "first_images", first_images)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # As torchrun does by OMP_NUM_THREADS.
    try:
        Worker(directory).work()
        assert ({*seen}, torch.get_num_threads()) == ({3}, 1)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["exact", "bf16"])
def test_batches_abreast_change_no_bit_of_a_run(tmp_path: Path, precision: str) -> None:
    options = {"attack": "fgsm,pgd", "steps": 2, "controls": "sign-noise,gaussian,donor", "batch": 6}
    options |= {"precision": precision}
    one, two = (analyze(small_config(**options, threads=threads), tmp_path) for threads in (1, 2))
    assert (one.config.abreast, two.config.abreast) == (1, 2)
    assert_same_results(two.directory, one.directory)


@pytest.fixture
def predecessor(tmp_path: Path) -> EventLog:
    """The log of a worker on another machine, begun this moment: its process cannot be looked at."""
    log = EventLog(events_path(new_run(tmp_path, images=10), 0))
    log.write(Started(**{**own_identity(), "boot_id": "another"}, device_name="another"))
    return log


def test_a_predecessor_elsewhere_that_beats_no_more_is_waited_for(
    predecessor: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psi_core.runs.processes.STALE_SECONDS", 0.5)
    assert Worker(predecessor.path.parent).work() == "finished"


def test_a_predecessor_elsewhere_that_beats_is_not_disturbed(predecessor: EventLog) -> None:
    beat = threading.Timer(0.3, predecessor.write, [Heartbeat()])
    beat.start()
    with pytest.raises(RunError, match="worker 0 is at work already"):
        Worker(predecessor.path.parent).work()
    beat.join()
