"""Event logs: where they lie, appended by a worker, read bit by bit by everyone else."""

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from psi_core.files import open_file
from psi_core.plain_text import plain_line
from psi_core.runs.events import BatchDone, Event, EventLine, FitAdvanced, event_line, event_of, number_of

LOG_BYTES = 2**18
_LONGEST_LINE = 2000

_BLOCK = 2**20
"""Bytes that are read at once; no line of ours is nearly as long."""

_LARGEST = 2**30
"""Bytes at the end of a log that are read. Two lines a second for a month make a third of it."""

_LATEST = 1e11
"""Seconds since 1970 that no clock of ours shows, in the year 5138."""

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
    names = (path.name for path in run_directory.glob("events-*.jsonl"))
    numbers = (re.fullmatch(r"events-([0-9]{1,6})\.jsonl", name) for name in names)
    return sorted({int(number[1]) for number in numbers if number is not None})


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a worker's output, as far back as LOG_BYTES reach, made harmless for a terminal."""
    try:
        with open_file(log) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
            data = file.read(LOG_BYTES)
    except OSError:
        return []
    lines = data.decode("utf-8", errors="replace").splitlines()[-count:]
    return [plain_line(line)[:_LONGEST_LINE] for line in lines]


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

    A torn last line waits for its rest. Lines that are no events, or longer than any event, are ignored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._is_in_long_line = False

    def poll(self) -> list[Event]:
        """New events in order."""
        return list(self.events())

    def events(self) -> Iterator[Event]:
        """New events in order, one by one: a long log is never in memory as a whole."""
        return map(event_of, self.each_line())

    def lines(self) -> list[EventLine]:
        """New lines in order, as they stand."""
        return list(self.each_line())

    def each_line(self) -> Iterator[EventLine]:
        """The same one by one; those that nobody takes are given at the next call."""
        try:
            with open_file(self.path) as file:
                if not self._offset and os.fstat(file.fileno()).st_size > _LARGEST:
                    self._offset, self._is_in_long_line = file.seek(-_LARGEST, os.SEEK_END), True
                while True:
                    file.seek(self._offset)
                    data = file.read(_BLOCK)
                    for line in self._whole_lines(data):
                        if line and (event := _parsed(line)) is not None:
                            yield event
                    if len(data) < _BLOCK:
                        return
        except OSError:  # It is gone, or not a file: nothing new.
            pass

    def _whole_lines(self, data: bytes) -> Iterator[bytes]:
        """The lines of a block that end in it; where each is given, the next look begins behind it."""
        is_full = len(data) == _BLOCK
        end = data.rfind(b"\n") + 1
        if not end and is_full:
            self._is_in_long_line = True
            self._offset += len(data)
            return
        begin = 0
        while begin < end:
            stop = data.index(b"\n", begin) + 1
            line, begin = data[begin : stop - 1], stop
            self._offset += len(line) + 1
            if self._is_in_long_line:
                self._is_in_long_line = False
            else:
                yield line


def _parsed(line: bytes) -> EventLine | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("event"), str):
        return None
    moment = number_of(found.get("time"))
    return found if moment is not None and 0 <= moment < _LATEST else None
