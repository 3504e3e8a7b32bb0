"""Event logs: where they lie, appended by a worker, read bit by bit by everyone else."""

import json
import math
import os
import threading
import time
from pathlib import Path

from psi_core.runs.events import BatchDone, Event, EventLine, FitAdvanced, event_line, event_of, number_of

_SHORTEST_INTERVAL = 0.5
"""Seconds between two lines of progress: at most two a second."""


def events_path(run_directory: Path, worker: int) -> Path:
    """The event log of one worker."""
    return run_directory / f"events-{worker}.jsonl"


def log_path(run_directory: Path, worker: int) -> Path:
    """Standard output and standard error of one worker."""
    return run_directory / f"engine-{worker}.log"


def preview_path(run_directory: Path, worker: int) -> Path:
    """The open chunk of one worker so far."""
    return run_directory / f"preview-{worker}.npz"


def worker_numbers(run_directory: Path) -> list[int]:
    """The workers that ever wrote here, ascending."""
    numbers = (path.stem.removeprefix("events-") for path in run_directory.glob("events-*.jsonl"))
    return sorted(int(number) for number in numbers if number.isdigit())


class EventLog:
    """Appends a worker's events; safe to use from its heartbeat thread too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._last_progress = 0.0

    def write(self, event: Event) -> None:
        """Appends one event in a single write; a torn line that a killed worker left is closed first."""
        line = json.dumps(event_line(event)) + "\n"
        with self._lock, self.path.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    line = "\n" + line
            file.write(line.encode())

    def progress(self, event: FitAdvanced | BatchDone, *, is_last: bool = False) -> None:
        """Appends an event unless one was written within half a second; the last of a series always is."""
        now = time.monotonic()
        if is_last or now - self._last_progress >= _SHORTEST_INTERVAL:
            self._last_progress = now
            self.write(event)


class EventReader:
    """Reads a log bit by bit: each poll gives what came since the last.

    A torn last line waits for its rest. Lines that are no events are ignored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def poll(self) -> list[Event]:
        """New events in order."""
        return [event_of(line) for line in self.lines()]

    def lines(self) -> list[EventLine]:
        """New lines in order, as they stand."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [found for line in whole.splitlines() if (found := _parsed(line)) is not None]


def _parsed(line: bytes) -> EventLine | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("event"), str):
        return None
    moment = number_of(found.get("time"))
    return found if moment is not None and math.isfinite(moment) else None
