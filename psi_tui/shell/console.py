"""Where words go: results to standard output, narration to standard error, errors in one sentence."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def output_console() -> "Console":
    """The console of results; no colors where standard output is no terminal."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, soft_wrap=False, emoji=False)


def narration_console() -> "Console":
    """The console of everything that is no result: bars, warnings, what to do next."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, soft_wrap=False, emoji=False)


def narrate(sentence: str) -> None:
    """Writes a plain line to standard error, never wrapped, so that a path in it can be copied."""
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201


def write_result(text: str) -> None:
    """Writes a plain line to standard output, at once, so that a pipe's reader has it."""
    print(text, flush=True)  # noqa: T201
