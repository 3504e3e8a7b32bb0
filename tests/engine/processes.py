"""Real workers in real processes, and what they left, compared."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from psi_core.config import RunConfig
from psi_core.engine.analysis import begin
from psi_core.runs.chunks import chunk_path, read_arrays
from psi_core.runs.event_log import EventReader, events_path
from psi_core.runs.run import Run
from tests.engine.warm import WarmProcess, start_warm


def small_config(**options: Any) -> RunConfig:
    """LeNet-5 with random weights over 90 digits: 7 chunks of at most 14 images in batches of 5, neither dividing."""
    values = {"weights": "random", "images": 90, "chunk": 14, "batch": 5, "threads": 1, "epsilon": [0, 0.1], **options}
    return RunConfig(**values)


def new_run(folder: Path, **options: Any) -> Path:
    """A run directory with nothing computed yet."""
    return begin(small_config(**options), folder)[1].directory


def start_worker(directory: Path, worker: int = 0, workers: int = 1) -> WarmProcess:
    """One worker as torchrun or srun would start it, but for the time that it takes to load torch."""
    ranked = {**os.environ, "RANK": str(worker), "WORLD_SIZE": str(workers)}
    return start_warm(["work", str(directory)], environment=ranked)


def engine(do: str, *, is_cold: bool = False, **fields: object) -> subprocess.CompletedProcess[str]:
    """A child that is asked one thing, at its end.

    Args:
        do: the question.
        is_cold: whether it is started by its command, and so loads torch itself.
        fields: what the question takes.
    """
    with TemporaryFile("w+") as question, TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        question.write(json.dumps({"id": 1, "do": do, **fields}))
        question.seek(0)
        streams = (question, output, errors)
        if is_cold:
            command = [sys.executable, "-m", "psi_core", "answer"]
            process = subprocess.Popen(command, **dict(zip(("stdin", "stdout", "stderr"), streams, strict=True)))
        else:
            process = start_warm(["answer"], streams=streams)
        code = process.wait(120)
        for stream in (output, errors):
            stream.seek(0)
        return subprocess.CompletedProcess(do, code, output.read(), errors.read())


def wait_until(holds: Callable[[], bool], seconds: float = 90) -> None:
    """Returns as soon as `holds`, and fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def events(directory: Path, worker: int = 0) -> list[dict[str, Any]]:
    """All events of one worker, as their lines hold them."""
    return EventReader(events_path(directory, worker)).lines()


def assert_same_results(directory: Path, reference: Path) -> None:
    """Every array of every chunk is there and has the same bits."""
    run = Run(reference)
    assert not run.missing_chunks
    assert not Run(directory).missing_chunks
    for number in range(run.chunks):
        ours, theirs = read_arrays(chunk_path(directory, number)), read_arrays(chunk_path(reference, number))
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            assert array.dtype == theirs[name].dtype
            assert np.array_equal(array.view(np.uint8), theirs[name].view(np.uint8)), (number, name)
