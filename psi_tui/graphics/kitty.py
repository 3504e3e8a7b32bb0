"""Pictures by kitty's graphics protocol, shown through Unicode placeholders.

A picture is sent once, under a number. It is seen wherever cells hold the placeholder character with that number as
their color. Such cells are text as any other: what covers, cuts or moves them does so to the picture.

Source: https://sw.kovidgoyal.net/kitty/graphics-protocol/, versions of kitty from 0.28 on.
"""

import base64
import unicodedata
import zlib
from functools import cache

import numpy as np
from numpy.typing import NDArray
from rich.color import Color, ColorType
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style

LONGEST_SIDE = 128
"""Rows and columns of cells that a picture may have."""

_PLACEHOLDER = "\U0010eeee"

_FUSED = frozenset(
    "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u0309\u030a\u030b\u030c\u030f\u0311\u0313\u0314\u0342\u0653\u0654"
)
"""Diacritics that normalization could make one with a letter; the protocol leaves them out."""

_LAST = 0x82D
"""The last diacritic taken: before it, later versions of Unicode than the protocol's 6.0 have added none."""

_PIECE = 4096
"""Bytes of one message's payload at most."""

_FIRST_COLOR, _COLORS = 16, 240
"""Colors of the 256 that no terminal counts among its own sixteen."""


def image_number(count: int) -> int:
    """The number of the picture that is the `count`-th: a color of 256, and in the highest byte a diacritic."""
    low, high = count % _COLORS, count // _COLORS
    return (1 + high % (LONGEST_SIDE - 1)) << 24 | (_FIRST_COLOR + low)


def sending(number: int, pixels: NDArray[np.uint8], columns: int, rows: int, *, has_answer: bool) -> list[str]:
    """The messages that bring a picture to the terminal, to be shown in cells that hold its number.

    Args:
        number: of the picture.
        pixels: (y, x, 4), red, green, blue and opacity.
        columns: of cells that it fills.
        rows: likewise.
        has_answer: whether the terminal says that it has it.
    """
    height, width = pixels.shape[:2]
    payload = base64.standard_b64encode(zlib.compress(pixels.tobytes(), 1)).decode()
    pieces = [payload[start : start + _PIECE] for start in range(0, len(payload), _PIECE)]
    quiet = 0 if has_answer else 2
    head = f"a=T,U=1,q={quiet},i={number},f=32,o=z,s={width},v={height},c={columns},r={rows},"
    return [
        f"\x1b_G{head if at == 0 else f'q={quiet},'}m={int(at < len(pieces) - 1)};{piece}\x1b\\"
        for at, piece in enumerate(pieces)
    ]


def freeing(number: int) -> str:
    """The message that has the terminal forget a picture, wherever it is seen."""
    return f"\x1b_Ga=d,d=I,q=2,i={number}\x1b\\"


def cells(number: int, row: int, columns: range, background: Style) -> list[Segment]:
    """One segment a cell, so that a cut between two of them splits none."""
    color = number & 0xFF
    # With its red, green and blue beside the number, no filter of Textual's takes it for a color to be replaced.
    shade = Color(f"color({color})", ColorType.EIGHT_BIT, color, ColorTriplet(0, 0, 0))
    style = Style.from_color(shade, background.bgcolor)
    marks = _diacritics()
    return [Segment(_PLACEHOLDER + marks[row] + marks[column] + marks[number >> 24], style) for column in columns]


@cache
def _diacritics() -> tuple[str, ...]:
    """What stands for 0, 1, 2, ...: marks above a letter that belong to no letter, in Unicode's order."""
    return tuple(
        mark
        for mark in map(chr, range(0x300, _LAST + 1))
        if unicodedata.combining(mark) == 230
        and unicodedata.category(mark) == "Mn"
        and not unicodedata.decomposition(mark)
        and mark not in _FUSED
    )
