"""Status of a run, derived from its files each time it is asked for and stored nowhere; and the request to stop."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from psi_core.errors import RunError, way_to_write
from psi_core.runs.chunks import finished_chunks
from psi_core.runs.event_log import EventReader, events_path, worker_numbers
from psi_core.runs.events import (
    BatchDone,
    Event,
    Failed,
    Finished,
    FitAdvanced,
    Heartbeat,
    PhaseBegan,
    Started,
    Stopped,
    Warned,
)
from psi_core.runs.processes import Pulse, is_alive, is_paused

Status = Literal["running", "paused", "done", "failed", "stopped", "queued", "lost", "damaged"]
"""What a run is doing. `paused`: its living workers are held by a signal; `damaged`, which only lists say: it cannot be
read."""

LIVE: tuple[Status, ...] = ("running", "paused")
"""Statuses of runs with living workers."""


def can_stop(status: Status) -> bool:
    """Whether there are workers to ask; those of a queued run may be starting."""
    return status in (*LIVE, "queued")


def can_resume(status: Status) -> bool:
    """Whether chunks are missing that no worker makes; one of a queued run may be starting."""
    return status in ("failed", "stopped", "queued", "lost")


STOP_FILE = "stop"


@dataclass(slots=True)
class WorkerState:
    """What one worker last reported, since it was last started.

    Attributes:
        number: its rank, from 0.
        started: its event when it began, or None.
        phase: `load`, `fit`, `compile` or `run`.
        progress: how far it is in this phase, or None.
        last: its last event of any kind but heartbeats.
        warnings: texts of its warnings, oldest first.
        is_alive: whether its process still runs.
        is_paused: whether that is held by a signal, as by Ctrl-Z or kill -STOP.
    """

    number: int
    started: Started | None = None
    phase: str = ""
    progress: BatchDone | FitAdvanced | None = None
    last: Event | None = None
    warnings: list[str] = field(default_factory=list)
    is_alive: bool = False
    is_paused: bool = False

    def accept(self, event: Event) -> None:
        """Accepts the worker's next event; one of an unknown kind only becomes the last."""
        if isinstance(event, Heartbeat):
            return  # It may come from its thread after the worker's last word.
        self.last = event
        match event:
            case Started():
                self.started, self.progress, self.phase = event, None, "load"
                self.warnings.clear()
            case PhaseBegan():
                self.phase, self.progress = event.phase, None
            case BatchDone() | FitAdvanced():
                self.progress = event
            case Warned():
                self.warnings.append(event.text)


class StatusReader:
    """Follows a run directory: each `poll` reads only what came since the last."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._readers: dict[int, tuple[EventReader, WorkerState]] = {}
        self._pulses: dict[int, Pulse] = {}

    def poll(self) -> list[WorkerState]:
        """Every worker's state now, by rank."""
        for number in worker_numbers(self.directory):
            if number not in self._readers:
                self._readers[number] = EventReader(events_path(self.directory, number)), WorkerState(number)
        for reader, worker in self._readers.values():
            for event in reader.events():
                worker.accept(event)
            has_left = isinstance(worker.last, Finished | Failed | Stopped)
            worker.is_alive = (
                worker.started is not None
                and not has_left
                and is_alive(worker.started, reader.path, self._pulses.setdefault(worker.number, Pulse()))
            )
            worker.is_paused = worker.is_alive and worker.started is not None and is_paused(worker.started)
        return [worker for _, (_, worker) in sorted(self._readers.items())]


def status_of(directory: Path, chunks: int, workers: list[WorkerState]) -> Status:
    """The first that holds: running or paused, done, failed, stopped, queued, lost.

    Args:
        directory: the run directory.
        chunks: how many chunks the whole run has.
        workers: every worker's state.
    """
    living = [worker for worker in workers if worker.is_alive]
    if living:
        return "paused" if all(worker.is_paused for worker in living) else "running"
    if set(range(chunks)) <= set(finished_chunks(directory)):
        return "done"
    said = [worker.last for worker in workers if worker.last is not None]
    # Times are in milliseconds: of two events at the same one, the failure counts.
    if max(((event.time, isinstance(event, Failed)) for event in said), default=(0, False))[1]:
        return "failed"
    last = max(said, key=lambda event: event.time, default=None)
    if isinstance(last, Stopped) or (directory / STOP_FILE).exists():
        return "stopped"
    return "queued" if last is None else "lost"


def request_stop(directory: Path) -> None:
    """Asks the workers of a run to finish their chunks and leave. A link is not written through.

    Raises:
        RunError: the run cannot be written to.
    """
    path = directory / STOP_FILE
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    except FileExistsError:
        if path.is_symlink():
            raise RunError(f"{path}: is a link, and a run writes through none; remove it") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}); {way_to_write(error)}") from None
