"""Runs of several workers, recorded without an engine: what each says, and the chunks that are there."""

from pathlib import Path
from typing import Any

from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import BatchDone, PhaseBegan, Started
from psi_core.runs.run import Run
from psi_core.runs.status import StatusReader
from psi_tui.runs.progress import Progress, State, WorkerProgress, progress_of
from tests.recorded import record_run

ELSEWHERE = {"host": "elsewhere", "boot_id": "x", "pid_namespace": "x", "pid": 1, "process_start": 1}
"""Alive as long as its log is young."""


def record_workers(runs_dir: Path, *, workers: int, chunks: list[int], **options: Any) -> Path:
    """A run of 60 images in chunks of 5, its first worker started among so many by whoever `identity` is."""
    identity = {**options.pop("identity", ELSEWHERE), "workers": workers}
    options = {"images": 60, "chunk": 5, "devices": workers, **options}
    return record_run(runs_dir, chunks=chunks, finished=False, identity=identity, **options)


def say(directory: Path, number: int, *events: str, identity: Any = None, workers: int | None = None, **batch: Any):
    """Lets a worker say that it started (if `identity` is given), measures (if `batch` is), and then these events."""
    log = EventLog(events_path(directory, number))
    if identity is not None:
        log.write(Started(**identity, **({} if workers is None else {"workers": workers})))
    if batch:
        log.write(PhaseBegan(phase="run"))
        log.write(BatchDone(**{"done": 0, "total": 0, "images_per_second": 10.0, "batch": 5, "seconds": {}, **batch}))
    for event in events:
        log.write(event)


def progress(directory: Path) -> Progress:
    """How far the run is now."""
    return progress_of(Run(directory), StatusReader(directory).poll())


def many(*workers: tuple[State, int], total: int = 5000, phase: str = "run") -> tuple[WorkerProgress, ...]:
    """Workers by state and images done."""
    living = ("running", "helping")
    return tuple(
        WorkerProgress(
            number, state, phase, done, total, 320.0 + number if state in living and phase == "run" else None
        )
        for number, (state, done) in enumerate(workers)
    )
