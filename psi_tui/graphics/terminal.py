"""The way in which this terminal is shown pictures, and what lies there of ours.

By itself the app asks the terminal. Kitty's pictures come first where placeholders are known, then sixels, then half
blocks. Inside tmux pictures pass only where tmux says so; inside another multiplexer none do.
"""

import fcntl
import math
import os
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal, Protocol, cast, get_args

from psi_core.errors import ConfigError, unknown_name
from psi_tui.graphics.answers import (
    ATTRIBUTES_QUESTION,
    CELL_QUESTION,
    KITTY_QUESTION,
    SIXEL,
    VERSION_QUESTION,
    Listener,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Method = Literal["blocks", "kitty", "sixel"]
Wish = Literal["auto", "blocks", "kitty", "sixel"]

VARIABLE = "PSI_PICTURES"
"""The environment variable that chooses."""

_PLACEHOLDERS_SINCE = {"kitty": (0, 28), "ghostty": (1, 0)}
"""Terminals that show pictures through placeholders, by the name that they tell, and the version since when."""

_KNOWN_TERMS = ("xterm-kitty", "xterm-ghostty")
"""What they set TERM to: tmux knows no more of a terminal that tells it no version."""

_USUAL_CELL = (10, 20)
"""Width and height of a cell in pixels, where kitty does not tell: it fits the picture to its cells anyway."""

_TMUX_SECONDS = 2.0
_TMUX_WORDS = {
    "passthrough": "allow-passthrough",
    "type": "client_termtype",
    "term": "client_termname",
    "features": "client_termfeatures",
    "width": "client_cell_width",
    "height": "client_cell_height",
}
"""What tmux is asked, by our names."""

_YOUNG_SECONDS, _WAITING_SECONDS = 1.0, 0.2
"""An app that is left while its questions are that young waits so long for the answers: the shell would take them."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a picture is shown.

    Attributes:
        method: half blocks, or the terminal's own pixels.
        cell: pixels that a cell is wide and high.
    """

    method: Method
    cell: tuple[int, int]


BLOCKS = Way("blocks", (1, 2))
"""Two pixels in every cell: the upper half of a block, and what is behind it."""


Span = tuple[int, int, int]
"""Cells in a line that were written: the line, the first column, the column behind the last."""


class Overlay(Protocol):
    """What is painted over cells after they are."""

    def paint_over(self, written: Iterable[Span] | None) -> None:
        """Paints it where its cells are seen, if any of these was written; None: all were."""


def wish_of(environment: Mapping[str, str]) -> Wish:
    """What the user wants.

    Raises:
        ConfigError: there is no such way.
    """
    wish = environment.get(VARIABLE, "") or "auto"
    if wish not in get_args(Wish):
        raise ConfigError(unknown_name(VARIABLE, wish, get_args(Wish)))
    return cast(Wish, wish)


class Graphics:
    """The terminal, as pictures know it. Without one, as in tests, pictures are half blocks.

    Args:
        wish: which way; `auto`: the best one that the terminal is known to have.
        environment: of the process.

    Attributes:
        listener: takes the terminal's answers.
        has_painted: whether something was painted over cells, which then show what they are not told.
    """

    def __init__(self, wish: Wish = "auto", environment: Mapping[str, str] = os.environ) -> None:
        self.listener = Listener()
        self.has_painted = False
        self._wish = wish
        self._in_tmux = bool(environment.get("TMUX"))
        term = environment.get("TERM", "")
        self._in_other = not self._in_tmux and term.startswith(("screen", "tmux"))
        self._is_mute = self._in_other or term == "linux" or environment.get("TERM_PROGRAM") == "Apple_Terminal"
        self._write: Callable[[str], None] | None = None
        self._asked_at = -math.inf
        self._has_asked = False
        self._tmux: dict[str, str] = {}
        self._counts = count(int.from_bytes(os.urandom(2)))  # Two apps in one terminal hardly share a number.
        self._there: set[int] = set()
        self._drawn: set[Overlay] = set()
        self._is_paused = False

    # The terminal.

    def opened(self, write: Callable[[str], None]) -> None:
        """Begins to use a terminal, and asks it, the first time; it holds no picture of ours yet."""
        self._write = write
        self._there.clear()
        if self._has_asked or self._wish != "auto" or self._is_mute:
            return
        self._has_asked = True
        self._asked_at = time.monotonic()
        self.listener.has_answered.clear()
        # tmux would take kitty's question for the title of its pane.
        own = "" if self._in_tmux else KITTY_QUESTION + VERSION_QUESTION
        write(own + CELL_QUESTION + ATTRIBUTES_QUESTION)

    def closing(self) -> None:
        """Leaves the terminal as it was; the thread that reads it must still be there."""
        for number in sorted(self._there):
            self.free(number)
        self._write = None
        if time.monotonic() - self._asked_at < _YOUNG_SECONDS:
            self.listener.has_answered.wait(_WAITING_SECONDS)
        self._asked_at = -math.inf

    def look_at_tmux(self) -> None:
        """Learns what tmux lets pass now, if it is around us. It is asked by its command: call it in a thread."""
        if not self._in_tmux or self._wish != "auto":
            return
        pane = ["-t", os.environ["TMUX_PANE"]] if os.environ.get("TMUX_PANE") else []
        try:
            done = subprocess.run(
                ["tmux", "display-message", "-p", *pane, "\n".join(f"#{{{word}}}" for word in _TMUX_WORDS.values())],
                capture_output=True,
                timeout=_TMUX_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            self._tmux = {}
            return
        self._tmux = dict(zip(_TMUX_WORDS, done.stdout.decode(errors="replace").split("\n"), strict=False))

    def cell(self) -> tuple[int, int] | None:
        """Width and height of a cell in pixels, now; None where it is not known."""
        told = [self._tmux.get(side, "") for side in ("width", "height")]
        if all(side.isdecimal() and int(side) for side in told):
            return int(told[0]), int(told[1])  # Of the terminal around tmux; a pane may have been told another one.
        try:
            size = fcntl.ioctl(sys.__stdout__ or 1, termios.TIOCGWINSZ, bytes(8))
        except (OSError, ValueError):
            return self.listener.answers.cell
        rows, columns, width, height = struct.unpack("HHHH", size)
        if not (rows and columns and width // columns and height // rows):
            return self.listener.answers.cell
        return width // columns, height // rows

    @property
    def way(self) -> Way:
        """How pictures are shown at present."""
        if self._write is None or self._wish == "blocks":
            return BLOCKS
        cell = self.cell()
        if self._wish == "kitty" or (self._wish == "auto" and self._takes_kitty()):
            return Way("kitty", cell or _USUAL_CELL)
        if self._wish == "sixel" or (self._wish == "auto" and self._takes_sixels()):
            # Of another size than its cells, a picture would stay beside them when these are painted again.
            return Way("sixel", cell) if cell else BLOCKS
        return BLOCKS

    def _takes_kitty(self) -> bool:
        if not self._in_tmux:
            return self.listener.answers.kitty and _knows_placeholders(self.listener.answers.version)
        kind = self._tmux.get("type", "")
        is_known = _knows_placeholders(kind) if kind else self._tmux.get("term") in _KNOWN_TERMS
        return is_known and self._tmux.get("passthrough") in ("1", "on", "all")  # A switch until tmux 3.3.

    def _takes_sixels(self) -> bool:
        if self._in_other or SIXEL not in self.listener.answers.attributes:
            return False
        return not self._in_tmux or "sixel" in self._tmux.get("features", "").split(",")

    # Pictures in it.

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Has what is drawn meanwhile hold no pixels of the terminal's: it goes elsewhere."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    @property
    def is_paused(self) -> bool:
        """Whether pictures are half blocks for the moment."""
        return self._is_paused

    def new_number(self) -> int:
        """A number for a picture that no other one has."""
        from psi_tui.graphics.kitty import image_number

        return image_number(next(self._counts))

    def put(self, number: int, pixels: "NDArray[np.uint8]", columns: int, rows: int) -> bool:
        """Brings a picture to the terminal, unless it was sent before: kitty's way.

        Returns:
            Whether it can be shown. tmux drops what a slow line cannot take, so what passed it counts only once the
            terminal says that it has it.
        """
        if number not in self._there and self._write is not None:
            from psi_tui.graphics.kitty import sending

            self._there.add(number)
            self._send(*sending(number, pixels, columns, rows, has_answer=self._in_tmux))
        return not self._in_tmux or number in self.listener.answers.pictures

    def free(self, number: int) -> None:
        """Has the terminal forget a picture."""
        if number in self._there:
            from psi_tui.graphics.kitty import freeing

            self._there.discard(number)
            self.listener.answers.pictures.discard(number)
            self._send(freeing(number))

    def paint(self, message: str, x: int, y: int) -> None:
        """Paints at a cell, the cursor coming back: sixels' way."""
        if self._write is not None:
            self.has_painted = True
            self._write(f"\x1b7\x1b[{y + 1};{x + 1}H{message}\x1b8")

    def was_drawn(self, overlay: Overlay) -> None:
        """Notes that cells were drawn that something is to be painted over."""
        self._drawn.add(overlay)

    def paint_over(self, written: Iterable[Span] | None) -> None:
        """Paints what belongs over the cells that were drawn last, and were written."""
        while self._drawn:
            self._drawn.pop().paint_over(written)

    def _send(self, *messages: str) -> None:
        if self._write is not None:
            self._write("".join(_through_tmux(message) if self._in_tmux else message for message in messages))


def _knows_placeholders(version: str) -> bool:
    """Whether a terminal that calls itself so shows pictures through placeholders."""
    found = re.match(r"([a-z]+)[ (]+(\d+)\.(\d+)", version.lower())
    if found is None:
        return False
    since = _PLACEHOLDERS_SINCE.get(found[1])
    return since is not None and (int(found[2]), int(found[3])) >= since


def _through_tmux(message: str) -> str:
    """A message that tmux hands on as it is."""
    return "\x1bPtmux;" + message.replace("\x1b", "\x1b\x1b") + "\x1b\\"
