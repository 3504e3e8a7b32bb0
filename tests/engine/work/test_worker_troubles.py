"""Workers when something is amiss: a full disk, too little memory, another machine, weights still to be made."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from psi_core.devices import CPU
from psi_core.engine import analyze
from psi_core.engine.measure.step import FusedStep
from psi_core.engine.work import chunk_writer, worker
from psi_core.engine.work.worker import Worker
from psi_core.errors import RunError
from psi_core.runs.chunks import finished_chunks
from psi_core.runs.run import Run
from tests.engine.processes import assert_same_results, events, new_run, small_config, start_worker

TINY = """
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(1, 4, 7, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
"""


def test_a_full_disk_fails_the_run_and_resume_makes_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = new_run(tmp_path)

    def write_until_full(path: Path, arrays: Any) -> None:
        if path.name == "00002.npz":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, arrays)

    write = chunk_writer.write_arrays
    monkeypatch.setattr(chunk_writer, "write_arrays", write_until_full)
    with pytest.raises(RunError, match=r"No space left on device.*free some disk and resume"):
        Worker(directory).work()
    assert (Run(directory).status, finished_chunks(directory)) == ("failed", [0, 1])
    monkeypatch.setattr(chunk_writer, "write_arrays", write)
    Worker(directory).work()
    assert_same_results(directory, analyze(small_config(), tmp_path).directory)


def test_too_little_memory_halves_the_batch_and_names_the_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_batch = FusedStep.__call__

    def run_small_batches(step: FusedStep, images: Any, labels: Any, indices: Any, given: Any) -> Any:
        if indices[0] == 0 and len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return run_batch(step, images, labels, indices, given)

    monkeypatch.setattr(FusedStep, "__call__", run_small_batches)
    run = analyze(small_config(order="first"), tmp_path)
    said = [event for event in events(run.directory) if event["event"] == "warning"]
    assert [(event["chunks"], event["batch"]) for event in said] == [([0], 2)]
    assert events(run.directory)[-2]["batch"] == 2
    monkeypatch.undo()
    whole = analyze(small_config(order="first"), tmp_path)
    assert run.psi == pytest.approx(whole.psi, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("torch", "kernels", ["summed by torch, now by kernels of the engine's own"]),
        ("kernels", "torch", ["summed by kernels of the engine's own, now by torch"]),
        (None, "kernels", ["summed by an older version, now by kernels"]),
        ("kernels", "kernels", []),
        (None, None, []),
    ],
)
def test_other_sums_are_warned_of(
    first: str | None, second: str | None, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = new_run(tmp_path, images=10)
    (directory / "stop").touch()
    for sums in (first, second):
        monkeypatch.setattr(worker, "sums_on", lambda _device, sums=sums: sums)
        Worker(directory).work()
    starts = [event for event in events(directory) if event["event"] == "started"]
    assert [event.get("sums", "left out") for event in starts] == [first or "left out", second or "left out"]
    texts = [event["text"] for event in events(directory) if event["event"] == "warning" and "summed" in event["text"]]
    assert len(texts) == len(said)
    assert all(part in text for text, part in zip(texts, said, strict=True))


def test_going_on_elsewhere_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = new_run(tmp_path, images=30)
    facts = worker.describe_device(CPU)
    (directory / "stop").touch()
    monkeypatch.setattr(worker, "describe_device", lambda _device: {**facts, "device_name": "an older machine"})
    assert Worker(directory).work() == "left"
    monkeypatch.undo()
    (directory / "stop").unlink()
    assert Worker(directory).work() == "finished"
    texts = [event["text"] for event in events(directory) if event["event"] == "warning"]
    assert len(texts) == 1
    assert "an older machine" in texts[0]


def test_several_workers_fit_once_and_show_it(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(TINY)
    model = f"{tmp_path / 'tiny.py'}:net"
    directory = new_run(tmp_path / "runs", model=model, weights="fitted", size=28, images=200, chunk=50)
    processes = [start_worker(directory, number, 2) for number in range(2)]
    assert [process.wait(200) for process in processes] == [0, 0]
    logs = [events(directory, number) for number in range(2)]
    phases = [[event["phase"] for event in log if event["event"] == "phase"] for log in logs]
    assert ["load", "fit", "run"] in phases
    assert sum(any(event["event"] == "fit" for event in log) for log in logs) == 1
    run = Run(directory)
    assert run.status == "done"
    assert run.model["fit"]["test_accuracy"] > 0.6
    assert (run.predictions[0] == run.labels).mean() > 0.6
