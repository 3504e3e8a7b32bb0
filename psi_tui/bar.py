"""What a shell shows of work under way: a live bar on a terminal, single lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from psi_tui.console import narrate, narration_console
from psi_tui.formatting import format_accuracies, format_count, format_duration, format_rate
from psi_tui.progress import Progress

if TYPE_CHECKING:
    from rich.console import RenderableType

PARTS = {"benign": "benign + PSI", "gradient": "gradient", "attacked": "attacked + PSI"}
"""The parts of the fused step as events name them, and as the screen does."""

_BAR = "blue"

_PHASE_WORDS = {"load": "loading", "fit": "fitting", "test": "testing", "run": "measuring", "export": "writing"}


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
    """A live bar where standard error is a capable terminal, else plain lines, or nothing but warnings if `quiet`.

    Args:
        quiet: whether to leave out all but what `say` is told.
        hint: what the user can do meanwhile, shown beside a live bar.
    """
    return LiveBar(hint) if not quiet and _can_move() else PlainLines()


@contextmanager
def waiting(for_what: str, *, quiet: bool = False) -> Iterator[None]:
    """Within the block, a capable terminal shows that something takes its time."""
    if quiet or not _can_move():
        yield
        return
    with narration_console().status(f"[dim]{for_what}[/dim]", spinner_style="dim"):
        yield


def _can_move() -> bool:
    """Whether standard error is a terminal that can redraw lines."""
    return sys.stderr.isatty() and not narration_console().is_dumb_terminal


class PlainLines:
    """Says only what stays: nothing moves in a log file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def update(self, progress: Progress, accuracies: tuple[float | None, float | None] = (None, None)) -> None:
        """Nothing: the state shows in no log."""

    def say(self, sentence: str) -> None:
        """One line on standard error."""
        narrate(sentence)


class LiveBar:
    """Up to four lines at the foot of the terminal, gone when the work is over; sentences scroll by above."""

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
        self._live.update(_bar(progress, accuracies, self._hint), refresh=True)

    def say(self, sentence: str) -> None:
        """One line above the bar."""
        self._console.print(sentence, markup=False, soft_wrap=True)


def _bar(progress: Progress, accuracies: tuple[float | None, float | None], hint: str) -> "RenderableType":
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    for _ in range(3):
        grid.add_column(no_wrap=True, justify="right")
    total = progress.total or None
    left = progress.seconds_left
    grid.add_row(
        Text(_PHASE_WORDS.get(progress.phase, progress.phase), style="bold"),
        ProgressBar(total=total, completed=progress.done, complete_style=_BAR, finished_style=_BAR, pulse_style=_BAR)
        if total
        else "",
        f"{format_count(progress.done)}/{format_count(total)}" if total else "",
        format_rate(progress.images_per_second) if progress.images_per_second else "",
        f"{format_duration(left)} left" if left is not None else "",
    )
    lines = [_facts(progress, accuracies), _shares(progress), hint]
    return Group(grid, *(Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in lines if line))


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
