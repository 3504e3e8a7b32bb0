"""Tables on screens: what stands in a column, which columns fit the width, one styled line a row.

Headings and rounding are the tables' own; a screen chooses columns, their order and which go first where it is narrow.
"""

import re
import textwrap
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from psi_core.tables.columns import TEXT_KINDS, Column
from psi_tui.text.formatting import MISSING, Row, format_cell, format_interval, format_mean_sd

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2
"""Space between columns."""

LONGEST_NAME = 32
"""Cells of a run's name within a sentence."""

_WIDEST, _WIDEST_SHARE = 24, 4
"""Cells that a text keeps where not all fit, or this part of the width where that is more."""

_NARROWEST = 12
"""Cells that a text keeps before a column goes that a reader cannot do without."""

KEY_IMPORTANCE = 5
"""From this importance on, texts are shortened before the column goes."""


@dataclass(frozen=True, slots=True)
class ScreenColumn:
    """One column as a screen shows it.

    Attributes:
        title: its heading.
        cell: the text of a row's cell.
        importance: where the width is short, the column with the lowest goes first; the first column never goes.
        is_text: set flush left; numbers are flush right.
        is_whole: whether a text is never shortened.
        least: cells that a text keeps at least where it is shortened.
        share: of the cells that texts are shortened to, what this one gets.
        value: by what rows are sorted, where the text of a cell does not tell; it gives None where there is nothing.
        name: by which rows are sorted and cells styled whatever the heading says; default the title.
    """

    title: str
    cell: Callable[[Row], str]
    importance: float = 0
    is_text: bool = False
    is_whole: bool = False
    least: int = 0
    share: float = 1.0
    value: Callable[[Row], Any] | None = None
    name: str = ""

    @property
    def key(self) -> str:
        """Its name, or its title where it has none."""
        return self.name or self.title


def screen_columns(columns: Iterable[Column], *, is_beside: bool = False) -> dict[str, ScreenColumn]:
    """Columns of a table by name, with its headings and its rounding.

    Args:
        columns: columns of the table.
        is_beside: whether they stand beside related ones, and take the headings that are for that.
    """

    def shown(column: Column) -> ScreenColumn:
        heading = (is_beside and column.on_screen) or column.heading
        return ScreenColumn(
            heading,
            lambda row: format_cell(row.get(column.name), column.kind),
            is_text=column.kind in TEXT_KINDS,
            name=column.name,
        )

    return {column.name: shown(column) for column in columns}


def pick(columns: Mapping[str, ScreenColumn], /, **importances: int) -> tuple[ScreenColumn, ...]:
    """The named columns in the order of their names, each as important as its number says."""
    return tuple(replace(columns[name], importance=importance, name=name) for name, importance in importances.items())


def mean_and_sd(title: str, name: str) -> ScreenColumn:
    """`0.5120 ± 0.0131`, from the columns `NAME_mean` and `NAME_sd`."""
    return ScreenColumn(title, lambda row: format_mean_sd(row, name))


def with_interval(title: str, name: str) -> ScreenColumn:
    """`+0.0502 [+0.0478, +0.0521]`, from the columns `NAME_mean`, `NAME_ci_low` and `NAME_ci_high`."""
    return ScreenColumn(title, lambda row: format_interval(row, name))


def interval_alone(title: str, name: str) -> ScreenColumn:
    """`[+0.0478, +0.0521]`, for where the mean stands in a column of its own."""
    return ScreenColumn(title, lambda row: format_interval(row, name).partition(" ")[2] or MISSING)


def limits(title: str, columns: Mapping[str, ScreenColumn], name: str) -> ScreenColumn:
    """`0.712..0.788`, from the columns `NAME_ci_low` and `NAME_ci_high`."""
    low, high = (columns[f"{name}_ci_{end}"].cell for end in ("low", "high"))

    def cell(row: Row) -> str:
        return MISSING if low(row) == MISSING else f"{low(row)}..{high(row)}"

    return ScreenColumn(title, cell)


def without_zeros(column: ScreenColumn) -> ScreenColumn:
    """A column whose zeros say nothing."""

    def cell(row: Row) -> str:
        text = column.cell(row)
        return MISSING if text == "0" else text

    return replace(column, cell=cell)


def of_side(side: str, column: ScreenColumn, title: str = "") -> ScreenColumn:
    """A column of one side of rows that stand in pairs, such as `benign` and `attacked`."""
    return replace(column, title=title or column.title, cell=lambda row: column.cell(row[side]))


def both_sides(column: ScreenColumn, title: str = "", *, missing: str = MISSING) -> ScreenColumn:
    """`39.4 → 68.2`, of rows that stand in pairs; one value where a row `is_alone`, for nothing was done to the images.

    Args:
        column: of one row.
        title: where it is another.
        missing: stands where neither side has a value.
    """

    def cell(row: Row) -> str:
        if row.get("is_alone"):
            return column.cell(row["benign"])
        benign, attacked = column.cell(row["benign"]), column.cell(row["attacked"])
        return missing if benign == attacked == MISSING else f"{benign} → {attacked}"

    return replace(column, title=title or column.title, cell=cell)


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one heading; an empty heading is not shown."""

    rows: Sequence[Row]
    heading: str = ""
    note: str = ""


_NUMBER = re.compile(r"^\W*?([-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?)")


def sorted_keys(column: ScreenColumn, rows: Mapping[str, Row], *, descending: bool) -> list[str]:
    """Keys of rows by one column, equal ones as they stood; those without a value last, either way.

    Numbers go by the one that a cell begins with. Texts go by their words, and whole numbers in these by their size:
    names of modules such as 0.2, 0.10 and 1.0.conv2 are no fractions.
    """
    values = {key: (column.value or _value_of(column))(row) for key, row in rows.items()}
    there = [key for key in rows if values[key] is not None]
    missing = [key for key in rows if values[key] is None]
    return [*sorted(there, key=values.__getitem__, reverse=descending), *missing]


def _value_of(column: ScreenColumn) -> Callable[[Row], Any]:
    """By what rows are sorted that have no value but the text of their cell."""

    def value(row: Row) -> Any:
        text = column.cell(row).strip("* ")
        if text in ("", MISSING):
            return None
        if column.is_text:
            return _natural(text)
        found = _NUMBER.match(text)
        return float(found.group(1).replace(",", "")) if found else None

    return value


def _natural(text: str) -> list[tuple[int, float, str]]:
    """A text as words and numbers in turn, so that conv2 precedes conv10."""
    parts = re.findall(r"\d+|\D+", text.casefold())
    return [(0, float(part), "") if part.isdecimal() else (1, 0.0, part) for part in parts]


def print_table(console: "Console", columns: Sequence[ScreenColumn], sections: Sequence[Section]) -> None:
    """Prints the sections under one common line of column titles, leaving out columns that do not fit the console.

    A column without any value is left out too.
    """
    from rich.text import Text

    cells = [[[column.cell(row) for column in columns] for row in section.rows] for section in sections]
    every = [row for section in cells for row in section]
    kept, every = fitted(columns, every, console.width)
    rest = iter(every)
    cells = [[next(rest) for _ in section] for section in cells]
    widths = {place: column_width(columns[place], place, every) for place in kept}

    def line(texts: Sequence[str]) -> str:
        parts = [_padded(texts[place], widths[place], columns[place].is_text) for place in kept]
        return (" " * GAP).join(parts).rstrip()

    def show(*parts: tuple[str, str]) -> None:
        console.print(Text.assemble(*parts), no_wrap=True, overflow="ignore", crop=False)

    show((line([column.title for column in columns]), "dim"))
    for number, (section, rows) in enumerate(zip(sections, cells, strict=True)):
        if section.heading:
            if number:
                console.print()
            for words in _heading_lines(section, console.width):
                show(*words)
        for row in rows:
            show((line(row), ""))
    hidden = hidden_titles(columns, kept, every)
    if told := next((words for words in _hidden_words(hidden) if len(words) <= console.width), ""):
        show((told, "dim"))


GLUE = "\ue000"
"""Stands for a blank at which no line is broken; no text has it."""


def _heading_lines(section: Section, width: int) -> list[tuple[tuple[str, str], ...]]:
    """The heading of a section in bold with its note beside it, or below it where both are wider than there is."""
    heading = (elided(section.heading, width), "bold")
    if not section.note:
        return [(heading,)]
    beside = f"  {section.note}"
    if cell_len(section.heading + beside) <= width:
        return [(heading, (beside, "dim"))]
    whole = re.sub("(?<!,) ", GLUE, section.note)  # What stands between two commas stays in one line.
    below = textwrap.wrap(whole, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    return [(heading,), *(((line.replace(GLUE, " "), "dim"),) for line in below)]


def fitted(
    columns: Sequence[ScreenColumn], rows: Sequence[Sequence[str]], width: int
) -> tuple[list[int], list[list[str]]]:
    """Places of the columns that fit, and the rows with long texts shortened in their middle where not all fit.

    One long name must not empty the columns of all rows: texts are shortened, down to 24 cells; then columns go, and
    before a key column goes all texts are shortened to 12 cells, of which some columns get but a share.

    Texts have the room that is left in the end.

    Args:
        columns: all of them.
        rows: the text of every cell.
        width: what there is.
    """
    everything = [place for place in range(len(columns)) if place == 0 or _has_value(place, rows)]
    keys = [place for place in everything if place == 0 or columns[place].importance >= KEY_IMPORTANCE]
    shown = [list(row) for row in rows]
    widest = max(_WIDEST, width // _WIDEST_SHARE)
    if _taken(columns, everything, shown) > width:
        shown = _shortened(columns, rows, widest)
        while widest > _WIDEST and _taken(columns, everything, shown) > width:
            widest -= 1
            shown = _shortened(columns, rows, widest)
    while widest > _NARROWEST and _taken(columns, keys, shown) > width:
        widest -= 1
        shown = _shortened(columns, rows, widest)
    kept = fitting_columns(columns, shown, width)
    longest = max((cell_len(text) for row in rows for text in row), default=0)
    if widest < longest and shown != rows:
        least_share = min((column.share for column in columns if column.is_text), default=1.0)
        wider = range(widest, int(longest / least_share) + 2)
        fits = bisect_right(wider, 0, key=lambda each: _taken(columns, kept, _shortened(columns, rows, each)) > width)
        if fits:
            shown = _shortened(columns, rows, wider[fits - 1])
    return kept, shown


def hidden_titles(columns: Sequence[ScreenColumn], kept: Sequence[int], rows: Sequence[Sequence[str]]) -> list[str]:
    """Headings of the columns that have values but no room."""
    return [columns[place].title for place in range(len(columns)) if place not in kept and _has_value(place, rows)]


def _hidden_words(titles: Sequence[str]) -> list[str]:
    """What is said of hidden columns, at length first; nothing of none."""
    if not titles:
        return []
    more = f"{len(titles)} more in a wider terminal"
    return [f"{more}: {', '.join(titles)}", more, f"+{len(titles)}"]


_ID = re.compile(r"((?:. )?)(\d{8}-\d{6}-[0-9a-f]{6})")
"""An id of a run, and the mark of a list before it."""


_MODULE = re.compile(r"((?:\S+ )?)(\w+(?:\.\w+)+(?:#\d+)?)")
"""A name of a module, `layer1.0.relu#2`, and a number before it."""


def elided(text: str, width: int) -> str:
    """A text with its middle left out where it is wider: names tell most by their ends. A number before it stays.

    An id keeps its end, since runs of one day begin alike; a module's name the numbers of what it lies in.
    """
    if cell_len(text) <= width:
        return text
    if (run := _ID.fullmatch(text)) and width > len(run.group(1)) + 1:
        return f"{run.group(1)}…{_end(run.group(2), width - len(run.group(1)) - 1)}"
    if (module := _MODULE.fullmatch(text)) and width > len(module.group(1)) + 1:
        return module.group(1) + _elided_module(module.group(2), width - len(module.group(1)))
    number, blank, _ = text.partition(" ")
    head = max((width - 1) // 3, min(cell_len(number) + 1, width - 5) if blank else 0)
    return f"{_start(text, head)}…{_end(text, max(0, width - 1 - head))}" if width > 0 else ""


def _elided_module(name: str, width: int) -> str:
    """`f….d…3.d…24.relu2`: many modules differ only in the number of a block; where not even that fits, its end."""
    *blocks, last = name.split(".")
    text = name
    for kept in range(max(map(len, blocks)), 0, -1):
        text = ".".join([*(_elided_block(block, kept) for block in blocks), last])
        if cell_len(text) <= width:
            return text
    return f"…{_end(text, width - 1)}"


def _elided_block(block: str, kept: int) -> str:
    """The first letters of a word and the number at its end."""
    number = re.search(r"\d*$", block).group()  # type: ignore[union-attr]
    return block if kept + 1 + len(number) >= len(block) else f"{block[:kept]}…{number}"


def _start(text: str, width: int) -> str:
    """As many letters of a text as fit so many cells."""
    ends = list(accumulate(map(cell_len, text)))
    return text[: bisect_right(ends, width)]


def _end(text: str, width: int) -> str:
    """As many letters of a text's end as fit so many cells; no accent without its letter."""
    end = _start(text[::-1], width)[::-1]
    return end.lstrip("".join({letter for letter in end if cell_len(letter) == 0}))


def _has_value(place: int, rows: Sequence[Sequence[str]]) -> bool:
    return any(row[place] not in ("", MISSING) for row in rows)


def _shortened(columns: Sequence[ScreenColumn], rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """Rows with every text at most so wide; numbers are left as they are."""
    most = [
        max(int(width * column.share), column.least) if column.is_text and not column.is_whole else None
        for column in columns
    ]
    return [[text if at is None else elided(text, at) for at, text in zip(most, row, strict=True)] for row in rows]


def _taken(columns: Sequence[ScreenColumn], places: Sequence[int], rows: Sequence[Sequence[str]]) -> int:
    """Cells that these columns take together."""
    return sum(column_width(columns[place], place, rows) for place in places) + GAP * (len(places) - 1)


def fitting_columns(columns: Sequence[ScreenColumn], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Places of the columns that have a value and fit a width together, the least important left out first.

    Args:
        columns: all of them.
        rows: the text of every cell.
        width: what there is, with two columns of space between any two.
    """
    kept = [place for place in range(len(columns)) if place == 0 or _has_value(place, rows)]
    while len(kept) > 1 and _taken(columns, kept, rows) > width:
        # Of equally important columns the last goes first.
        kept.remove(min(kept[1:], key=lambda place: (columns[place].importance, -place)))
    # A wide one that went late leaves room for narrow ones that went before it.
    gone = [place for place in range(1, len(columns)) if place not in kept and _has_value(place, rows)]
    for place in sorted(gone, key=lambda place: (-columns[place].importance, place)):
        if _taken(columns, [*kept, place], rows) <= width:
            kept.append(place)
    return sorted(kept)


def column_width(column: ScreenColumn, place: int, rows: Iterable[Sequence[str]]) -> int:
    """How many columns of the terminal the title and every cell of one column need."""
    return max([cell_len(column.title), *(cell_len(row[place]) for row in rows)])


def _padded(text: str, width: int, is_text: bool) -> str:
    padding = " " * (width - cell_len(text))
    return text + padding if is_text else padding + text
