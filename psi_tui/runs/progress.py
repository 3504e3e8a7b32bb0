"""How far a run and each of its workers is, from what they say and from the chunks that are there; and words for it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from psi_core.plain_text import plain_line
from psi_core.runs.chunks import owner_of, share_of
from psi_core.runs.events import BatchDone, Failed, Finished, FitAdvanced, Stopped
from psi_core.runs.run import Run
from psi_core.runs.status import LIVE, Status, WorkerState, status_of
from psi_tui.text.formatting import format_count, format_duration

State = Literal["waiting", "running", "helping", "finished", "left", "failed", "lost"]
"""What a worker is about: not started yet; at its own share; at the share of a worker that is gone; through; told to
leave; ended by an error; gone without a word."""

_ENDS: Mapping[type, State] = {Finished: "finished", Stopped: "left", Failed: "failed"}
"""What became of a worker, by its last word."""


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
    states = {
        worker.number: worker for worker in workers if worker.started and (worker.started.workers or count) == count
    }
    sizes = [run.chunk_images(number) for number in range(run.chunks)]
    totals = [sum(sizes[chunk] for chunk in share_of(number, count, len(sizes))) for number in range(count)]
    done = [0] * count
    whole = {chunk: sizes[chunk] for chunk in finished}
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
    starts = {worker.number: worker.started for worker in workers if worker.started}
    last = max(starts.values(), key=lambda started: started.time, default=None)
    return 0 if last is None else last.workers or 1 + max(starts)


def _open_chunks(workers: Collection[WorkerState]) -> dict[int, int]:
    """Images that are through of the chunks that living workers have open; those of a dead one are made anew."""
    opened: dict[int, int] = {}
    for worker in workers:
        batch = worker.progress
        if worker.is_alive and isinstance(batch, BatchDone) and batch.chunk is not None:
            opened[batch.chunk] = max(opened.get(batch.chunk, 0), batch.open or 0)
    return opened


def _of_worker(number: int, count: int, worker: WorkerState | None, done: int, total: int) -> WorkerProgress:
    if worker is None:
        return WorkerProgress(number, "waiting", "load", done, total)
    event, state = worker.progress, _ENDS.get(type(worker.last), "lost")
    if worker.is_alive:
        chunk = event.chunk if isinstance(event, BatchDone) else None
        state = "running" if chunk is None or owner_of(chunk, count) == number else "helping"
    rate = event.images_per_second if event and worker.is_alive else None
    return WorkerProgress(number, state, worker.phase or "load", done, total, rate or None)


PARTS = {"benign": "benign + PSI", "gradient": "gradient", "attacked": "attacked + PSI"}
"""The parts of the fused step as events name them, and as the screen does."""

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


def state_words(worker: WorkerProgress) -> str:
    """What it is about where that is not its share, `lost` or `loading`; empty while it measures its share."""
    if worker.state != "running":
        return worker.state
    return "" if worker.phase == "run" else PHASE_WORDS.get(worker.phase, worker.phase)


def time_words(worker: WorkerProgress) -> str:
    """`12 s left`, or what it is about instead."""
    left = worker.seconds_left
    return state_words(worker) or ("" if left is None else f"{format_duration(left)} left")


def percent_words(worker: WorkerProgress) -> str:
    """`62 %`, or what it is about instead."""
    return state_words(worker) or f"{int(100 * worker.share_done)} %"


def count_words(worker: WorkerProgress) -> str:
    """`3,100/5,000`, images of its share."""
    return f"{format_count(worker.done)}/{format_count(worker.total)}"


def rest_words(workers: Sequence[WorkerProgress], shown: Sequence[WorkerProgress], *, names_broken: bool = True) -> str:
    """`and 4 more, 1 lost`: those without room, and which of them are broken; empty where all are shown."""
    numbers = {worker.number for worker in shown}
    rest = [worker for worker in workers if worker.number not in numbers]
    broken = Counter(worker.state for worker in rest if worker.is_broken and names_broken)
    what = f"and {len(rest)} more" if shown else f"{len(rest)} workers"
    return ", ".join([what, *(f"{count} {state}" for state, count in broken.items())]) if rest else ""


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
        shares: share of the time spent in each part of the step; empty before the first batch. They add up to 1.
        loss: loss of the fit so far, or None.
        accuracy: accuracy of the fit so far, 0..1, or None.
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
    def is_live(self) -> bool:
        """Whether a worker is at it, or held by a signal."""
        return self.status in LIVE

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
    warnings = tuple(dict.fromkeys(plain_line(text) for worker in workers for text in worker.warnings))
    phase = max((worker.phase for worker in workers if worker.phase in PHASES), key=PHASES.index, default="load")
    events = [worker.progress for worker in workers if worker.progress is not None and worker.phase == phase]
    living = [worker.progress for worker in workers if worker.is_alive and worker.progress is not None]
    rate = sum(event.images_per_second for event in living) or None
    finished = run.finished_chunks
    each = worker_progress(run, workers, finished)
    if phase != "run" and status in LIVE:
        last = max(events, key=lambda event: event.time, default=FitAdvanced())
        fit = last if isinstance(last, FitAdvanced) else FitAdvanced()
        return Progress(
            status,
            phase,
            last.done,
            last.total,
            rate if phase == "fit" else None,
            loss=fit.loss,
            accuracy=fit.accuracy,
            warnings=warnings,
            workers=each,
        )
    # What a dead worker had open is made anew, and a fit is no measurement; a living one counts what it is writing too.
    measured = sum(event.done for event in living if isinstance(event, BatchDone))
    done = min(run.images, max(run.images_done, measured))
    if each:  # What one counts as its share, another may have made: the chunks alone add up.
        done = sum(worker.done for worker in each)
    batches = [event for event in events if isinstance(event, BatchDone)]
    return Progress(
        status,
        phase,
        done,
        run.images,
        rate,
        min((event.batch for event in batches if event.batch), default=None),
        _shares(batches) or None,
        warnings=warnings,
        workers=each,
    )


def _shares(batches: Sequence[BatchDone]) -> dict[str, float]:
    seconds: Counter[str] = Counter()
    for batch in batches:
        seconds.update(batch.seconds)
    whole = sum(seconds.values())
    return {part: spent / whole for part, spent in seconds.items()} if whole else {}
