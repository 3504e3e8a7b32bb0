"""Letters of figures on paper: one font for every kind of file, how wide its letters are, and their outlines.

The font is ours, so that a figure looks alike everywhere. It has the letters of Latin, Greek and Cyrillic, arrows and
mathematical signs. Any other letter, such as a Chinese one, takes a square.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from psi_core.plain_text import plain_line

FONT = Path(__file__).parent / "fonts" / "DejaVuSansCondensed.ttf"
"""DejaVu Sans Condensed, cut down; without pairs of its own widths, so that a text is as wide as its letters."""

ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class _Font:
    """What is read of the font's file.

    Attributes:
        units: of its outlines in one em.
        names: of the outline by letter.
        widths: of the letters, in units.
        outlines: by name, as fontTools draws them.
    """

    units: int
    names: dict[str, str]
    widths: dict[str, int]
    outlines: Any


@lru_cache(maxsize=1)
def _font() -> _Font:
    from fontTools.ttLib import TTFont  # A figure needs it, the app's first paint does not.

    file = TTFont(FONT)
    names = {chr(code): name for code, name in file.getBestCmap().items()}
    widths = {letter: file["hmtx"][name][0] for letter, name in names.items()}
    return _Font(file["head"].unitsPerEm, names, widths, file.getGlyphSet())


def written(text: str) -> str:
    """A text in one line as figures write it: accents joined to their letters, nothing that no file can hold."""
    return unicodedata.normalize("NFC", plain_line(text))


def has_letter(letter: str) -> bool:
    """Whether our font draws a letter."""
    return letter in _font().names


def is_lettered(text: str) -> bool:
    """Whether our font draws all of a text."""
    return all(has_letter(letter) for letter in text)


def placed(text: str) -> Iterator[tuple[str, float]]:
    """Every letter of a text, and where it begins, in em."""
    place = 0.0
    for letter in text:
        yield letter, place
        place += _width(letter)


def text_width(text: str, size: float) -> float:
    """How wide a text is, in points, at a size of so many."""
    return size * sum(map(_width, text))


def _width(letter: str) -> float:
    font = _font()
    if letter in font.widths:
        return font.widths[letter] / font.units
    return 0.0 if unicodedata.combining(letter) else 1.0


def units_per_em() -> int:
    """Units of an outline in one em."""
    return _font().units


@lru_cache(maxsize=512)
def outline(letter: str) -> str:
    """The outline of a letter of our font, as SVG's path data in the font's units, y upwards; a blank has none."""
    from fontTools.pens.svgPathPen import SVGPathPen

    font = _font()
    pen = SVGPathPen(font.outlines, ntos=lambda number: str(round(number)))
    font.outlines[font.names[letter]].draw(pen)
    return str(pen.getCommands())


def fitted(text: str, width: float, size: float) -> str:
    """A text no wider than so many points: where it is, its middle is left out, since names differ at both ends."""
    if text_width(text, size) <= width:
        return text
    kept = len(text) - 1
    while kept > 0:
        before = (kept + 1) // 2
        shorter = text[:before] + ELLIPSIS + text[len(text) - (kept - before) :]
        if text_width(shorter, size) <= width:
            return shorter
        kept -= 1
    return ELLIPSIS
