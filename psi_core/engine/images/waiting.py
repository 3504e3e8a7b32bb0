"""Waiting for what cannot be ended: a read that a disk holds, or another library, in a thread of this process.

A thread that does nothing for too long is given up and left behind: the run fails in a sentence, and its process ends.
What can be ended, the processes that decode files, is waited for in `pictures`.
"""

import math
import os
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from psi_core.errors import DataError
from psi_core.runs.processes import Patience

Thing = TypeVar("Thing")
Found = TypeVar("Found")


class _Reader(threading.Thread):
    """One thread that takes one thing after another; a daemon, so that no process waits for it at its end.

    Args:
        act: what is done to a thing.
        pending: places and things that no thread has taken yet, in reverse order; shared.
        told: takes the place of everything that is done, with what came of it or the error.

    Attributes:
        at: place of the thing under way; None before the first and after the last.
    """

    def __init__(
        self, act: Callable[[Any], Any], pending: list[tuple[int, Any]], told: "SimpleQueue[tuple[int, Any, bool]]"
    ) -> None:
        super().__init__(name="reader", daemon=True)
        self._act, self._pending, self._told = act, pending, told
        self.at: int | None = None

    def run(self) -> None:
        while True:
            try:
                place, thing = self._pending.pop()
            except IndexError:
                return
            self.at = place
            try:
                found = self._act(thing)
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for.
                self.at = None
                self._told.put((place, error, False))
            else:
                self.at = None
                self._told.put((place, found, True))


def in_threads(
    act: Callable[[Thing], Found], things: Sequence[Thing], place_of: Callable[[Thing], str], threads: int
) -> list[Found]:
    """What is found of every thing, in their order; several threads read at once.

    Args:
        act: reads one thing.
        things: all of them.
        place_of: names a thing to people.
        threads: how many at most.

    Raises:
        DataError: a thread did nothing for too long over a thing, which is named; it is left behind.
        Exception: the first that `act` raised.
    """
    if isinstance(threading.current_thread(), _Reader):
        return [act(thing) for thing in things]  # Whoever waits for this one waits for these too.
    pending = list(enumerate(things))[::-1]
    told: SimpleQueue[tuple[int, Any, bool]] = SimpleQueue()
    readers = [_Reader(act, pending, told) for _ in range(min(threads, len(things)))]
    for reader in readers:
        reader.start()
    watched: dict[_Reader, tuple[int, Patience]] = {}
    found: dict[int, Any] = {}
    errors: dict[int, BaseException] = {}
    look_seconds = Patience(os.getpid(), math.inf, threading.get_native_id()).look_seconds
    while len(found) + len(errors) < len(things):
        try:
            place, outcome, is_found = told.get(timeout=look_seconds)
        except Empty:
            for reader in readers:
                if reason := _reason_of(reader, watched):
                    at = watched[reader][0]
                    pending.clear()
                    raise DataError(
                        f"data: {place_of(things[at])}: reading it was given up, since {reason}; look at the disk that "
                        "it lies on, then resume the run, or begin anew"
                    ) from None
        else:
            (found if is_found else errors)[place] = outcome
            del outcome
    if errors:
        try:
            raise errors[min(errors)]
        finally:
            errors.clear()  # An error that its own frame held would keep files open.
    return [found[place] for place in range(len(things))]


def _reason_of(reader: _Reader, watched: dict[_Reader, tuple[int, Patience]]) -> str:
    """Why a thread is waited for no longer, in half a sentence; empty while it is, and where it has nothing to do."""
    at, thread = reader.at, reader.native_id
    if at is None or thread is None:
        watched.pop(reader, None)
        return ""
    if reader not in watched or watched[reader][0] != at:
        watched[reader] = at, Patience(os.getpid(), math.inf, thread)
    return watched[reader][1].reason()


def awaited(act: Callable[[], Found], place: str) -> Found:
    """What reading gives, unless it does nothing for too long.

    Args:
        act: reads.
        place: names to people what is read.

    Raises:
        DataError: it was given up.
        Exception: what `act` raised.
    """
    return in_threads(lambda read: read(), [act], lambda _: place, 1)[0]
