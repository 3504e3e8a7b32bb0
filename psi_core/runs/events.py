"""Event logs: what each worker says about itself, one JSON line an event, append only."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any, TypeAlias

Event: TypeAlias = dict[str, Any]
"""`event` (its kind), `time` (seconds since 1970) and the kind's own fields."""

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

    def write(self, kind: str, **fields: Any) -> None:
        """Appends one event in a single write; a torn line that a killed worker left is closed first."""
        line = json.dumps({"event": kind, "time": round(time.time(), 3), **fields}) + "\n"
        with self._lock, self.path.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    line = "\n" + line
            file.write(line.encode())

    def progress(self, kind: str, *, is_last: bool = False, **fields: Any) -> None:
        """Appends an event unless one was written within half a second; the last of a series always is."""
        now = time.monotonic()
        if is_last or now - self._last_progress >= _SHORTEST_INTERVAL:
            self._last_progress = now
            self.write(kind, **fields)


class EventReader:
    """Reads a log bit by bit: each `poll` gives the whole lines that came since the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def poll(self) -> list[Event]:
        """New events in order. A torn last line waits for its rest; lines that are no events are passed over."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [event for line in whole.splitlines() if (event := _parse(line)) is not None]


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    is_event = isinstance(event, dict) and isinstance(event.get("event"), str)
    return event if is_event and isinstance(event.get("time"), int | float) else None
