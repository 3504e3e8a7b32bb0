"""What goes over the line to the terminal: of everything that Textual draws again, the cells that have changed.

Textual draws whole widgets. A run that is watched draws a screen of 30 KB a few times a minute, of which some hundred
cells are new; over SSH that is the difference between a key that is answered at once and one that waits.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TypeAlias

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console
from rich.control import Control
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.color import Color
from textual.filter import LineFilter
from textual.strip import Strip

from psi_tui.text.in_ascii import to_ascii

Look: TypeAlias = tuple[str, str]
"""What the terminal is sent before and after a text of one style."""

Cell: TypeAlias = tuple[str, Look]
"""The text of a cell, with what combines with it, and its look; the second cell of a wide character has no text."""

Piece: TypeAlias = tuple[int, int, Strip]
"""Column, line and what stands there from there on."""

_PLAIN: Look = ("", "")

_GAP = 6
"""Cells between two changes that are sent rather than leapt over: a leap costs as many bytes."""


class Wire:
    """What a terminal shows now, as far as it is known."""

    def __init__(self) -> None:
        self._lines: dict[int, list[Cell | None]] = {}

    def forget(self) -> None:
        """Somebody else may have written to the terminal, or its size is another one: all is sent anew."""
        self._lines.clear()

    def shortened(self, update: CompositorUpdate) -> CompositorUpdate:
        """The same update without what the terminal shows already. One of an unknown kind stays as it is."""
        if isinstance(update, ChopsUpdate | LayoutUpdate):
            return _Changes(self, update)
        self.forget()
        return update

    def changes(self, pieces: Iterable[Piece], colors: ColorSystem) -> Iterator[tuple[int, int, Sequence[Cell]]]:
        """Column, line and cells of what differs, from left to right; the terminal is taken to show it from now on."""
        for x, y, strip in pieces:
            line = self._lines.setdefault(y, [])
            cells = _cells(strip, colors)
            line.extend([None] * (x + len(cells) - len(line)))
            shown = line[x : x + len(cells)]
            if shown == cells:
                continue
            line[x : x + len(cells)] = cells
            for start, end in _runs(shown, cells):
                yield x + start, y, cells[start:end]


class _Changes(CompositorUpdate):
    """What of an update differs from what the terminal shows; found out at the moment when it is sent."""

    def __init__(self, wire: Wire, update: ChopsUpdate | LayoutUpdate) -> None:
        self._wire = wire
        self._update = update

    def render_segments(self, console: Console) -> str:
        """As a terminal takes it."""
        pieces = _of_chops(self._update) if isinstance(self._update, ChopsUpdate) else _of_layout(self._update)
        sent = []
        for x, y, cells in self._wire.changes(pieces, console._color_system or ColorSystem.TRUECOLOR):
            sent.append(Control.move_to(x, y).segment.text)
            for (before, after), run in groupby(cells, key=itemgetter(1)):
                sent.append(f"{before}{''.join(text for text, _ in run)}{after}")
        return "".join(sent)


def _of_layout(update: LayoutUpdate) -> Iterator[Piece]:
    for y, strips in enumerate(update.strips, update.region.y):
        yield update.region.x, y, Strip.join(strips)


def _of_chops(update: ChopsUpdate) -> Iterator[Piece]:
    """Every part of a line that has something to be written, cut at its right end as Textual cuts it."""
    for y, left, right in update.spans:
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if strip is not None and x <= right and end > left:
                yield x, y, strip if end <= right else strip.crop(0, right - x)


def _cells(strip: Strip, colors: ColorSystem) -> list[Cell]:
    cells: list[Cell] = []
    for text, style, _ in strip:
        look = _PLAIN if style is None else _look(style, colors)
        if text.isascii():
            cells.extend([(character, look) for character in text])
        else:
            cells.extend([(part, look) for part in _parts(text)])
    return cells


@lru_cache(4096)
def _look(style: Style, colors: ColorSystem) -> Look:
    before, _, after = Strip.render_style(style, "\0", color_system=colors).partition("\0")
    return before, after


@lru_cache(4096)
def _parts(text: str) -> tuple[str, ...]:
    """The text of each cell. What is as wide as no sum of its characters, as joined ones are, is one part with them."""
    widths = [cell_len(character) for character in text]
    if sum(widths) != cell_len(text):
        return text, *[""] * (cell_len(text) - 1)
    parts: list[str] = []
    for character, width in zip(text, widths, strict=True):
        if width:
            parts.extend([character, *[""] * (width - 1)])
        elif parts:
            parts[-1 if parts[-1] else -2] += character
    return tuple(parts)


def _runs(shown: Sequence[Cell | None], cells: Sequence[Cell]) -> Iterator[tuple[int, int]]:
    """Starts and ends of what is to be sent; no wide character is cut."""
    places = [place for place, (old, new) in enumerate(zip(shown, cells, strict=True)) if old != new]
    breaks = [number for number, (one, next_one) in enumerate(pairwise(places), 1) if next_one - one > _GAP]
    for first, last in zip([0, *breaks], [*breaks, len(places)], strict=True):
        start, end = places[first], places[last - 1] + 1
        while start and not cells[start][0]:
            start -= 1
        while end < len(cells) and not cells[end][0]:
            end += 1
        yield start, end


class AsciiFilter(LineFilter):
    """Replaces every character that is no ASCII by one of the same width; styles stay as they are."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same line in ASCII.

        Args:
            segments: segments of one line; control segments pass unchanged.
            background: not used.
        """
        return [
            segment if segment.control or segment.text.isascii() else Segment(to_ascii(segment.text), segment.style)
            for segment in segments
        ]
