"""What the app's threads tell it."""

from pathlib import Path

from textual.message import Message

from psi_tui.run_list import RunEntry
from psi_tui.run_reader import Snapshot


class RunsListed(Message):
    """The list of runs changed.

    Attributes:
        entries: all of them, in the order of the home screen.
    """

    def __init__(self, entries: tuple[RunEntry, ...]) -> None:
        super().__init__()
        self.entries = entries


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
        directory: of the run.
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
