"""Tables as text: which columns fit the width, how wide each is, one styled line a row. Knows nothing of runs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psi_tui.text.formatting import MISSING, Row

if TYPE_CHECKING:
    from rich.console import Console

_GAP = 2


@dataclass(frozen=True, slots=True)
class ScreenColumn:
    """One column as a screen shows it.

    Attributes:
        title: its heading.
        cell: the text of a row's cell.
        importance: where the width is short, the column with the lowest goes first; the first column never goes.
        is_text: set flush left; numbers are flush right.
    """

    title: str
    cell: Callable[[Row], str]
    importance: int = 0
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one heading; an empty heading is not shown."""

    rows: Sequence[Row]
    heading: str = ""
    note: str = ""


def print_table(console: "Console", columns: Sequence[ScreenColumn], sections: Sequence[Section]) -> None:
    """Prints the sections under one common line of column titles, leaving out columns that do not fit the console.

    A column without any value is left out too.
    """
    from rich.text import Text

    cells = [[[column.cell(row) for column in columns] for row in section.rows] for section in sections]
    every = [row for section in cells for row in section]
    kept = fitting_columns(columns, every, console.width)
    widths = {place: column_width(columns[place], place, every) for place in kept}

    def line(texts: Sequence[str]) -> str:
        parts = [_padded(texts[place], widths[place], columns[place].is_text) for place in kept]
        return (" " * _GAP).join(parts).rstrip()

    def show(*parts: tuple[str, str]) -> None:
        console.print(Text.assemble(*parts), no_wrap=True, overflow="ignore", crop=False)

    show((line([column.title for column in columns]), "dim"))
    for number, (section, rows) in enumerate(zip(sections, cells, strict=True)):
        if section.heading:
            if number:
                console.print()
            show((section.heading, "bold"), (f"  {section.note}" if section.note else "", "dim"))
        for row in rows:
            show((line(row), ""))


def fitting_columns(columns: Sequence[ScreenColumn], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Places of the columns that have a value and fit a width together, the least important left out first.

    Args:
        columns: all of them.
        rows: the text of every cell.
        width: what there is, with two columns of space between any two.
    """
    kept = [
        place for place in range(len(columns)) if place == 0 or any(row[place] not in ("", MISSING) for row in rows)
    ]
    while len(kept) > 1:
        taken = sum(column_width(columns[place], place, rows) for place in kept) + _GAP * (len(kept) - 1)
        if taken <= width:
            break
        # Of equally important columns the last goes first.
        kept.remove(min(kept[1:], key=lambda place: (columns[place].importance, -place)))
    return kept


def column_width(column: ScreenColumn, place: int, rows: Iterable[Sequence[str]]) -> int:
    """How many columns of the terminal the title and every cell of one column need."""
    from rich.cells import cell_len

    return max([cell_len(column.title), *(cell_len(row[place]) for row in rows)])


def _padded(text: str, width: int, is_text: bool) -> str:
    from rich.cells import cell_len

    padding = " " * (width - cell_len(text))
    return text + padding if is_text else padding + text
