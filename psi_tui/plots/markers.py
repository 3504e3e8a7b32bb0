"""Which marker and color every series has, and where its markers go when they would hide each other."""

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from psi_tui.figures import Palette, Role, Series

_OWN: dict[Role, str] = {"benign": "o", "attacked": "x", "control": "+", "beyond": "*"}
_LETTERS = "".join(letter for letter in string.ascii_letters if letter not in "oOxX")
_MARKER_DISTANCE = 4
_CROWD = 4  # Points for every column; from there on a marker beside its place hides another one's place.


@dataclass(frozen=True, slots=True)
class Ink:
    """How a series is drawn.

    Attributes:
        number: of its color on the canvas, from 1 on; series of one color share it.
        marker: one ASCII character.
        color: as rich names it, or `#rrggbb`.
    """

    number: int
    marker: str
    color: str


def inks(series: Sequence[Series], palette: Palette) -> list[Ink]:
    """Marker and color of every series: those of its role for the first of each, further ones after that."""
    own_colors = {
        "benign": palette.benign,
        "attacked": palette.attacked,
        "control": palette.control,
        "beyond": palette.other[0],
    }
    markers, colors = cycle(_LETTERS), cycle(palette.other)
    taken: set[Role] = set()
    numbers: dict[str, int] = {}
    given = []
    for one in series:
        if one.role == "other" or one.role in taken:
            marker, color = next(markers), next(colors)
        else:
            taken.add(one.role)
            marker, color = _OWN[one.role], own_colors[one.role]
        given.append(Ink(numbers.setdefault(color, len(numbers) + 1), marker, color))
    return given


def ink_colors(given: Sequence[Ink]) -> list[str]:
    """The colors by their number, the first being that of number 1."""
    return list(dict.fromkeys(ink.color for ink in given))


def marked_places(
    cells: Sequence[Sequence[tuple[int, int]]], columns: int, *, is_joined: bool
) -> list[list[tuple[int, int]]]:
    """Cells that get a marker, for every series.

    Where two series fall into one cell, the later one moves a little aside. On curves it is left out where there is no
    room for that either, but for its last point, and of a long curve only every so many points are marked.

    Args:
        cells: column and row of every point.
        columns: of the canvas.
        is_joined: whether lines join the points, so that not each needs a marker.
    """
    taken: dict[tuple[int, int], int] = {}
    is_crowd = sum(map(len, cells)) > _CROWD * columns
    asides = (0, 1, -1) if is_joined else (0,) if is_crowd else (0, 1, -1, 2, -2)
    places = []
    for number, own in enumerate(cells):
        step = max(1, math.ceil(_MARKER_DISTANCE * len(own) / columns)) if is_joined else 1
        marked = []
        for place in range(number * step // len(cells), len(own), step):
            is_last = is_joined and place + step >= len(own)
            cell = _free_cell(own[place], number, taken, (*asides, *range(-2, -columns, -1)) if is_last else asides)
            if cell is None and not is_joined:
                cell = own[place]
            if cell is not None:
                taken[cell] = number
                marked.append(cell)
        places.append(marked)
    return places


def _free_cell(
    cell: tuple[int, int], number: int, taken: dict[tuple[int, int], int], asides: Sequence[int]
) -> tuple[int, int] | None:
    """The cell, or the first one beside it that no other series has marked."""
    column, row = cell
    candidates = ((column + aside, row) for aside in asides if column + aside >= 0)
    return next((place for place in candidates if taken.get(place, number) == number), None)
