"""Where words go: results to standard output, narration to standard error, errors in one sentence."""

import codecs
import contextlib
import io
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

from psi_core.errors import ConfigError, PsiError
from psi_core.files import is_file, replacing
from psi_core.plain_text import plain_text
from psi_tui.text.in_ascii import to_ascii

if TYPE_CHECKING:
    from rich.console import Console


def write_alike() -> None:
    """Has standard streams write what is alike for a character that their encoding lacks: `^` for `▲`, not a `?`."""
    codecs.register_error("alike", _alike)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="alike")


def _alike(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError), "it is asked where text is written"
    return to_ascii(error.object[error.start : error.end]), error.end


def has_every_character(stream: TextIO) -> bool:
    """Whether a stream can be written whatever the app draws with."""
    return stream.encoding.lower().startswith("utf")


def output_console() -> "Console":
    """The console of results; no colors where standard output is no terminal."""
    return _console(sys.stdout)


def narration_console() -> "Console":
    """The console of everything that is no result: bars, warnings, what to do next."""
    return _console(sys.stderr)


def _console(stream: IO[str]) -> "Console":
    """A console that takes no markup and no control characters: what it prints may come from a stranger's file."""
    from rich.console import Console
    from rich.text import Text

    class PlainConsole(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            with _written():
                super().print(*map(plain, objects), **options)

    def plain(value: Any) -> Any:
        if isinstance(value, Text):
            value.plain = plain_text(value.plain)  # As long as it was: its styles stay where they are.
        return plain_text(value) if isinstance(value, str) else value

    return PlainConsole(file=stream, highlight=False, soft_wrap=False, emoji=False, markup=False)


def print_sentence(console: "Console", text: str, style: str = "", indent: int = 0) -> None:
    """Prints what is no table: at a terminal broken between words, elsewhere in one line for whoever reads that.

    A command in parentheses stays in one piece, so that it can be copied.

    Args:
        console: where to.
        text: one paragraph.
        style: of all of it.
        indent: where further lines begin; near the left where there is no room beside it.
    """
    if console.is_terminal:
        from psi_tui.text.columns import GLUE

        indent = indent if console.width - indent >= NARROWEST_SENTENCE else SHORT_INDENT * bool(indent)
        whole = re.sub(r"\(psi-tui [^()]*\)", lambda command: command[0].replace(" ", GLUE), text)
        options = {"subsequent_indent": " " * indent, "break_long_words": False, "break_on_hyphens": False}
        text = "\n".join(textwrap.wrap(whole, console.width, **options)).replace(GLUE, " ")  # type: ignore[arg-type]
    console.print(text, style=style, soft_wrap=True)


SHORT_INDENT = 2

NARROWEST_SENTENCE = 30
"""Columns below which sentences stand on lines of their own."""


def narrate(sentence: str) -> None:
    """Writes a plain line to standard error, never wrapped, so that a path in it can be copied."""
    with contextlib.suppress(OSError):  # Nobody can be told that nobody can be told.
        print(plain_text(sentence), file=sys.stderr, flush=True)  # noqa: T201


def write_result(text: str) -> None:
    """Writes a plain line to standard output, at once, so that a pipe's reader has it."""
    with _written():
        print(plain_text(text), flush=True)  # noqa: T201


def drop_output() -> None:
    """Sends to nowhere what is still to be written to standard output: it would fail once more at the end."""
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 1)


class OutputError(PsiError):
    """What was asked for was found, and cannot be written to standard output."""


@contextlib.contextmanager
def _written() -> Iterator[None]:
    """Turns a full disk behind standard output into a sentence; a closed pipe stays what it is: nobody wants more."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output()
        raise OutputError(
            f"output: cannot be written ({error.strerror}); free its disk, or send it elsewhere"
        ) from None


def require_free(path: Path, *, replace: bool) -> None:
    """Refuses to replace a file without a word.

    Raises:
        ConfigError: there is one, and it is not to be replaced.
    """
    if is_file(path) and not replace:
        raise ConfigError(f"to: {path} is there already; write another name, or --replace")


def write_file(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Writes one file, all of it or none; a device or a pipe is written to and stays what it is.

    Raises:
        ConfigError: there is such a file already, or it cannot be written.
    """
    require_free(path, replace=replace)
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(data)
            return
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"to: {path} cannot be written ({error.strerror}); write another place") from None
