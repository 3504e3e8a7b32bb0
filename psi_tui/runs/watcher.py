"""Threads that read while the screen draws: each polls twice a second and posts a message of what changed."""

import threading
from collections.abc import Callable
from pathlib import Path

from textual.message import Message

from psi_core.errors import PsiError
from psi_tui.runs.open_run import RunReader, Snapshot
from psi_tui.runs.run_list import RunEntry, RunList


class RunsListed(Message):
    """The list of runs changed.

    Attributes:
        entries: all of them, in the order of the home screen.
        trouble: why the folder of runs cannot be read, in a sentence; empty where it can.
    """

    def __init__(self, entries: tuple[RunEntry, ...], trouble: str) -> None:
        super().__init__()
        self.entries, self.trouble = entries, trouble


class RunAdvanced(Message):
    """The open run was read again; a newer one replaces an older one that nobody has seen yet."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        """Whether the older message is of the same kind."""
        return isinstance(message, RunAdvanced)


class ReadingFailed(Message):
    """A run could not be read.

    Attributes:
        directory: the run's directory.
        sentence: why.
    """

    def __init__(self, directory: Path, sentence: str) -> None:
        super().__init__()
        self.directory = directory
        self.sentence = sentence


class WatchingFailed(Message):
    """A watching thread came upon something that nobody foresaw.

    Attributes:
        error: what it was.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


POLL_SECONDS = 0.5

Post = Callable[[Message], object]


class _Watcher:
    """A daemon thread that calls `look` twice a second until it is stopped."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name=type(self).__name__)

    def start(self) -> None:
        """Begins to look, at once."""
        self._thread.start()

    def stop(self) -> None:
        """Looks no more; a look under way may still post."""
        self._over.set()

    def look(self) -> None:
        """Reads, and posts what changed."""
        raise NotImplementedError

    def _watch(self) -> None:
        try:
            while not self._over.is_set():
                self.look()
                self._over.wait(POLL_SECONDS)
        except Exception as error:  # noqa: BLE001 - the thread's door: what nobody foresaw goes out by the app's own.
            self._post(WatchingFailed(error))


class RunsWatcher(_Watcher):
    """Watches the runs directory.

    Args:
        runs_dir: the folder of run directories.
        post: takes messages, from any thread.
    """

    def __init__(self, runs_dir: Path, post: Post) -> None:
        super().__init__(post)
        self._list = RunList(runs_dir)
        self._last: tuple[tuple[RunEntry, ...], str] | None = None

    def look(self) -> None:
        """Posts RunsListed where the list differs from the last one."""
        listed = self._list.poll(), self._list.trouble
        if listed != self._last and not self._over.is_set():
            self._last = listed
            self._post(RunsListed(*listed))


class RunWatcher(_Watcher):
    """Watches one run.

    Args:
        directory: the run's directory.
        post: takes messages, from any thread.
    """

    def __init__(self, directory: Path, post: Post) -> None:
        super().__init__(post)
        self.directory = directory
        self._reader: RunReader | None = None
        self._last: Snapshot | None = None

    def look(self) -> None:
        """Posts RunAdvanced where the run differs from what it was, and ReadingFailed once it cannot be read.

        A run that was read before may be out of reach for a moment, on a network file system: the next look may see it.
        """
        try:
            self._reader = self._reader or RunReader(self.directory)
            snapshot = self._reader.poll()
        except (PsiError, OSError) as error:
            if isinstance(error, OSError) and self._last is not None:
                return
            self.stop()
            self._post(ReadingFailed(self.directory, str(error)))
            return
        if snapshot != self._last and not self._over.is_set():
            self._last = snapshot
            self._post(RunAdvanced(snapshot))
