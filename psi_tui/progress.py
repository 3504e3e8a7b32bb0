"""How far a run is, put together from what its workers say. Reads; draws nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psi_core.chunks import finished_chunks
from psi_core.runs import Run
from psi_core.status import Status, WorkerState, status_of
from psi_core.summaries import headline_accuracies, headline_condition
from psi_tui.worker_progress import WorkerProgress, worker_progress

__all__ = ["Progress", "headline_accuracies", "headline_condition", "progress_of"]

PHASES = ("load", "fit", "compile", "run")

PHASE_WORDS = {
    "load": "loading",
    "fit": "fitting",
    "test": "testing",
    "compile": "compiling",
    "run": "measuring",
    "export": "writing",
}
"""What the screen calls a phase; `test` belongs to a fit, `export` to no run."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A run under way at one moment.

    Attributes:
        status: as derived from its files.
        phase: one of PHASES, the farthest of the workers'; `load` until one says more.
        done: images finished in this phase, over all workers.
        total: images of this phase; 0 where nothing is counted yet.
        images_per_second: over all workers that live, or None.
        batch: images per batch, the smallest of the workers', or None.
        shares: of the time spent, by part of the step; empty before the first batch. They add up to 1.
        loss: of the fit so far, or None.
        accuracy: of the fit so far, 0..1, or None.
        warnings: everything that workers warned of, in order of rank.
        workers: each of several, by rank; empty where one has the run to itself.
    """

    status: Status
    phase: str = "load"
    done: int = 0
    total: int = 0
    images_per_second: float | None = None
    batch: int | None = None
    shares: dict[str, float] | None = None
    loss: float | None = None
    accuracy: float | None = None
    warnings: tuple[str, ...] = ()
    workers: tuple[WorkerProgress, ...] = ()

    @property
    def seconds_left(self) -> float | None:
        """Until the phase is over at the present rate, or None."""
        return (self.total - self.done) / self.images_per_second if self.images_per_second else None


def progress_of(run: Run, workers: Sequence[WorkerState]) -> Progress:
    """How far a run is.

    Args:
        run: the run; nothing but its configuration and the names of its chunks is read.
        workers: every worker's state.
    """
    status = status_of(run.directory, run.chunks, list(workers))
    warnings = tuple(dict.fromkeys(text for worker in workers for text in worker.warnings))
    phase = max((worker.phase for worker in workers if worker.phase in PHASES), key=PHASES.index, default="load")
    events = [worker.progress for worker in workers if worker.progress is not None and worker.phase == phase]
    living = [worker.progress for worker in workers if worker.is_alive and worker.progress is not None]
    rate = sum(float(event.get("images_per_second") or 0) for event in living) or None
    finished = finished_chunks(run.directory)
    each = worker_progress(run, workers, finished)
    if phase != "run" and status == "running":
        last: dict[str, Any] = max(events, key=lambda event: float(event["time"]), default={})
        return Progress(
            status,
            phase,
            int(last.get("done", 0)),
            int(last.get("total", 0)),
            rate if phase == "fit" else None,
            loss=last.get("loss"),
            accuracy=last.get("accuracy"),
            warnings=warnings,
            workers=each,
        )
    assert isinstance(run.config.chunk, int), "a run's configuration is resolved"
    whole_chunks = len(finished) * run.config.chunk
    done = min(run.images, max(whole_chunks, sum(int(event.get("done", 0)) for event in events)))
    if each:  # What one counts as its share, another may have made: the chunks alone add up.
        done = sum(worker.done for worker in each)
    batches = [int(event["batch"]) for event in events if event.get("batch")]
    return Progress(
        status,
        phase,
        done,
        run.images,
        rate,
        min(batches, default=None),
        _shares(events) or None,
        warnings=warnings,
        workers=each,
    )


def _shares(events: Sequence[dict[str, Any]]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for event in events:
        for part, spent in event.get("seconds", {}).items():
            seconds[part] = seconds.get(part, 0.0) + float(spent)
    whole = sum(seconds.values())
    return {part: spent / whole for part, spent in seconds.items()} if whole else {}
