"""How far each of a run's several workers is, put together from what they say and from the chunks that are there."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from psi_core.chunks import chunk_range, owner_of, share_of
from psi_core.runs import Run
from psi_core.status import WorkerState

State = Literal["waiting", "running", "helping", "finished", "left", "failed", "lost"]
"""What a worker is about: not started yet; at its own share; at the share of a worker that is gone; through; told to
leave; ended by an error; gone without a word."""


@dataclass(frozen=True, slots=True)
class WorkerProgress:
    """A worker and its share of a run at one moment.

    Attributes:
        number: its rank, from 0.
        state: what it is about.
        phase: as of a run; `load` until it says more.
        done: images of its share that are through, those too that others made in its place.
        total: images of its share. The shares add up to the run, whoever works at them.
        images_per_second: while it lives, or None.
    """

    number: int
    state: State
    phase: str
    done: int
    total: int
    images_per_second: float | None = None

    @property
    def is_broken(self) -> bool:
        """Whether it ended and nobody had told it to, so that others have to do its work."""
        return self.state in ("failed", "lost")

    @property
    def share_done(self) -> float:
        """0..1; 1 where there are fewer chunks than workers and it has none."""
        return self.done / self.total if self.total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Until its own share is through at its present rate, or None."""
        is_measuring = self.state == "running" and self.phase == "run"
        return (self.total - self.done) / self.images_per_second if is_measuring and self.images_per_second else None


def worker_progress(run: Run, workers: Sequence[WorkerState], finished: Collection[int]) -> tuple[WorkerProgress, ...]:
    """Every worker of the last start, by rank; empty where one worker has the run to itself.

    Args:
        run: the run; nothing but its configuration is read.
        workers: every worker's state, those of earlier starts too.
        finished: numbers of the chunks that are there.
    """
    count = _worker_count(workers)
    if count < 2:
        return ()
    states = {worker.number: worker for worker in workers if worker.started and _size(worker, count) == count}
    sizes = _chunk_sizes(run)
    totals = [sum(sizes[chunk] for chunk in share_of(number, count, len(sizes))) for number in range(count)]
    done = [0] * count
    whole = {chunk: sizes[chunk] for chunk in finished if chunk < len(sizes)}
    for chunk, images in {**_open_chunks(states.values()), **whole}.items():
        done[owner_of(chunk, count)] += images
    return tuple(_of_worker(number, count, states.get(number), done[number], totals[number]) for number in range(count))


def most_urgent(workers: Sequence[WorkerProgress], room: int) -> list[WorkerProgress]:
    """All in order where there is room, else those to look at: those that are broken first, then the least advanced.

    Tenths of a share count, so that workers of one speed do not change places all the time.
    """
    if len(workers) <= room:
        return list(workers)
    ranked = sorted(workers, key=lambda worker: (not worker.is_broken, int(10 * worker.share_done), worker.number))
    return sorted(ranked[: max(0, room)], key=lambda worker: (not worker.is_broken, worker.number))


def _worker_count(workers: Sequence[WorkerState]) -> int:
    """How many share the run, as the worker says that was started last."""
    started = [worker for worker in workers if worker.started]
    if not started:
        return 0
    last = max(started, key=lambda worker: float((worker.started or {})["time"]))
    return _size(last, 1 + max(worker.number for worker in started))


def _size(worker: WorkerState, default: int) -> int:
    """Among how many it was started."""
    return int((worker.started or {}).get("workers") or default)


def _chunk_sizes(run: Run) -> list[int]:
    chunk = run.config.chunk
    assert isinstance(chunk, int), "a run's configuration is resolved"
    return [len(chunk_range(number, run.images, chunk)) for number in range(run.chunks)]


def _open_chunks(workers: Collection[WorkerState]) -> dict[int, int]:
    """Images that are through of the chunks that living workers have open; those of a dead one are made anew."""
    opened: dict[int, int] = {}
    for worker in workers:
        event = worker.progress
        if worker.is_alive and worker.phase == "run" and event is not None and event.get("chunk") is not None:
            chunk = int(event["chunk"])
            opened[chunk] = max(opened.get(chunk, 0), int(event.get("open") or 0))
    return opened


def _of_worker(number: int, count: int, worker: WorkerState | None, done: int, total: int) -> WorkerProgress:
    if worker is None:
        return WorkerProgress(number, "waiting", "load", done, total)
    event = worker.progress or {}
    rate = float(event.get("images_per_second") or 0) if worker.is_alive else 0.0
    state: State = "lost"
    if worker.is_alive:
        chunk = event.get("chunk") if worker.phase == "run" else None
        state = "running" if chunk is None or owner_of(int(chunk), count) == number else "helping"
    else:
        match (worker.last or {}).get("event"):
            case "finished" | "left" | "failed" as ended:
                state = ended
    return WorkerProgress(number, state, worker.phase or "load", done, total, rate or None)
