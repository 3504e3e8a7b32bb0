"""What a shell shows of work under way: a live bar on a terminal, single lines elsewhere."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from psi_tui.runs.progress import (
    PARTS,
    PHASE_WORDS,
    Progress,
    WorkerProgress,
    count_words,
    most_urgent,
    rest_words,
    time_words,
)
from psi_tui.shell.console import narrate, narration_console
from psi_tui.text.formatting import format_accuracies, format_count, format_duration, format_rate

if TYPE_CHECKING:
    from rich.console import RenderableType


_BAR, _BROKEN = "blue", "red"

_MOST_WORKERS = 8
"""Lines of single workers, at most."""


class ProgressView(Protocol):
    """Shows work under way; a context manager that leaves the screen as it was."""

    def __enter__(self) -> Self:
        """Starts showing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops showing."""

    def update(self, progress: Progress, accuracies: tuple[float | None, float | None] = (None, None)) -> None:
        """Shows the state now; the accuracies are in percent, benign and attacked."""

    def say(self, sentence: str) -> None:
        """Writes a sentence that stays."""


def progress_view(*, quiet: bool = False, hint: str = "") -> ProgressView:
    """A live bar where standard error is a capable terminal, else a line now and then; warnings alone if `quiet`.

    Args:
        quiet: whether to leave out all but what `say` is told.
        hint: what the user can do meanwhile, shown beside a live bar.
    """
    return LiveBar(hint) if not quiet and _can_move() else PlainLines(quiet=quiet)


@contextmanager
def waiting(for_what: str, *, quiet: bool = False) -> Iterator[None]:
    """Within the block, a capable terminal shows that something takes its time."""
    if quiet or not _can_move():
        yield
        return
    from rich.text import Text

    with narration_console().status(Text(for_what, style="dim"), spinner_style="dim"):
        yield


def _can_move() -> bool:
    """Whether standard error is a terminal that can redraw lines."""
    return sys.stderr.isatty() and not narration_console().is_dumb_terminal


LINE_SECONDS = 30.0
"""A log file is told how far the work is no more often."""


class PlainLines:
    """Says only what stays: nothing moves in a log file, which gets a line now and then.

    Args:
        quiet: whether to write only what `say` is told.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._is_quiet = quiet
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def update(self, progress: Progress, accuracies: tuple[float | None, float | None] = (None, None)) -> None:
        """One line on standard error, of a state that is some time after the one told last."""
        if self._is_quiet or time.monotonic() - self._told < LINE_SECONDS:
            return
        self._told = time.monotonic()
        narrate(progress_line(progress, accuracies))

    def say(self, sentence: str) -> None:
        """One line on standard error."""
        narrate(sentence)


def progress_line(progress: Progress, accuracies: tuple[float | None, float | None] = (None, None)) -> str:
    """How far the work is, `measuring  12 %  1,200/10,000  320 images/s  12 s left`, as far as that is known."""
    parts = [PHASE_WORDS.get(progress.phase, progress.phase)]
    if progress.total:
        parts.append(f"{100 * progress.done // progress.total} %")
        parts.append(f"{format_count(progress.done)}/{format_count(progress.total)}")
    if progress.images_per_second:
        parts.append(format_rate(progress.images_per_second))
    if progress.seconds_left is not None:
        parts.append(f"{format_duration(progress.seconds_left)} left")
    if facts := _facts(progress, accuracies):
        parts.append(facts.replace("   ", "  "))
    return "  ".join(parts)


class LiveBar:
    """A few lines at the foot of the terminal, gone when the work is over; sentences scroll by above."""

    def __init__(self, hint: str = "") -> None:
        from rich.live import Live

        self._hint = hint
        self._console = narration_console()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, progress: Progress, accuracies: tuple[float | None, float | None] = (None, None)) -> None:
        """Draws the bar anew."""
        self._live.update(_bar(progress, accuracies, self._hint, self._console.height), refresh=True)

    def say(self, sentence: str) -> None:
        """One line above the bar."""
        self._console.print(sentence, markup=False, soft_wrap=True)


def _bar(progress: Progress, accuracies: tuple[float | None, float | None], hint: str, height: int) -> "RenderableType":
    """The bar of all, those of several workers, and what else there is to say, in fewer lines than the terminal has."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    for _ in range(3):
        grid.add_column(no_wrap=True, justify="right")
    left = progress.seconds_left
    grid.add_row(
        Text(PHASE_WORDS.get(progress.phase, progress.phase), style="bold"),
        _line(progress.done, progress.total, _BAR) if progress.total else "",
        f"{format_count(progress.done)}/{format_count(progress.total)}" if progress.total else "",
        format_rate(progress.images_per_second) if progress.images_per_second else "",
        f"{format_duration(left)} left" if left is not None else "",
    )
    lines = [line for line in (_facts(progress, accuracies), _shares(progress), hint) if line]
    room = height - 1 - len(lines) - 1  # A line stays free for the cursor.
    shown = _shown(progress.workers, room)
    for worker in shown:
        color = _BROKEN if worker.is_broken else _BAR
        grid.add_row(
            f"worker {worker.number}",
            _line(worker.done, worker.total, color),
            count_words(worker),
            format_rate(worker.images_per_second) if worker.images_per_second else "",
            Text(time_words(worker), style=f"bold {_BROKEN}" if worker.is_broken else ""),
        )
    if room > 0 and (rest := rest_words(progress.workers, shown)):
        lines = [rest, *lines]
    return Group(grid, *(Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in lines))


def _line(done: int, total: int, color: str) -> "RenderableType":
    from rich.progress_bar import ProgressBar

    # A worker without a chunk of its own is through: 1 of 1.
    return ProgressBar(
        total=total or 1,
        completed=done if total else 1,
        complete_style=color,
        finished_style=color,
        pulse_style=color,
    )


def _shown(workers: Sequence[WorkerProgress], room: int) -> list[WorkerProgress]:
    """The workers that get a line; where not all do, one line is left to say so."""
    most = min(_MOST_WORKERS, room)
    return most_urgent(workers, most if len(workers) <= most else min(_MOST_WORKERS, room - 1))


def _facts(progress: Progress, accuracies: tuple[float | None, float | None]) -> str:
    facts = []
    if accuracies[0] is not None:
        facts.append(f"accuracy {format_accuracies(*accuracies)} %")
    if progress.loss is not None:
        facts.append(f"loss {progress.loss:.4f}")
    if progress.accuracy is not None:
        facts.append(f"accuracy {100 * progress.accuracy:.1f} %")
    if progress.batch:
        facts.append(f"batch {progress.batch}")
    return "   ".join(facts)


def _shares(progress: Progress) -> str:
    shares = (progress.shares or {}).items()
    return "   ".join(f"{PARTS.get(part, part)} {100 * share:.0f} %" for part, share in shares)
