"""A cursor on a picture: where it can stand, what is read off there, and the picture with it."""

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text


@dataclass(frozen=True, slots=True)
class Stops:
    """Where a cursor can stand in a picture.

    Attributes:
        top: lines above the field of the picture.
        rows: lines of the field.
        columns: cells across, ascending; several stops may share one.
        readings: of each stop, what is read off there, at length first.
    """

    top: int
    rows: int
    columns: tuple[int, ...]
    readings: tuple[tuple[str, ...], ...]

    def nearest(self, column: int) -> int:
        """The stop nearest to a cell across."""
        at = bisect_left(self.columns, column)
        near = [place for place in (at - 1, at) if 0 <= place < len(self.columns)]
        return min(near, key=lambda place: abs(self.columns[place] - column))

    def words(self, stop: int, width: int) -> str:
        """What is read off at a stop, as much of it as a line has room for."""
        return next((text for text in self.readings[stop] if len(text) <= width), self.readings[stop][-1])


def with_cursor(picture: "Text", stops: Stops, stop: int, width: int, *, ascii_only: bool) -> "Text":
    """The picture with an upright line at a stop, and what is read off there in its uppermost line.

    Args:
        picture: of as many lines as it was drawn with.
        stops: of the same picture.
        stop: number of one of them.
        width: of a line.
        ascii_only: whether only ASCII may be drawn.
    """
    from rich.text import Text

    column, words = stops.columns[stop], stops.words(stop, width)
    lines = list(picture.split(allow_blank=True))
    for place in range(stops.top, min(stops.top + stops.rows, len(lines))):
        line = lines[place]
        line.pad_right(max(0, column + 1 - len(line)))
        if line.plain[column] == " ":
            lines[place] = Text.assemble(line[:column], "|" if ascii_only else "│", line[column + 1 :])
        else:
            line.stylize("reverse", column, column + 1)
    told = Text(words[:width], style="bold")
    if stops.top:
        lines[0] = told
    else:
        lines.insert(0, told)
        del lines[-1:]
    return Text("\n").join(lines)
