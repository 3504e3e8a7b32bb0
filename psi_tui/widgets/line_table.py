"""Rows one line high under fixed headings, one of them under the cursor; only visible lines are rendered.

A table gives its columns, the texts and styles of a row's cells, and what a row stands for. How rows are scrolled and
painted, the cursor, keys, clicks and the mark of the sorted column are the same for all tables and are here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from psi_tui.text.columns import GAP

Key = TypeVar("Key")
MessageKey = TypeVar("MessageKey")

ARROWS = {False: "▲", True: "▼"}
"""Arrow behind the heading of the sort column: ascending, descending."""


@dataclass(frozen=True, slots=True)
class LineColumn:
    """One column as it is painted.

    Attributes:
        name: by which rows are sorted.
        heading: above it.
        width: in cells.
        is_text: set flush left; numbers are flush right.
    """

    name: str
    heading: str
    width: int
    is_text: bool

    def padded(self, text: str) -> str:
        """A text as wide as the column, cut where it is longer."""
        padding = " " * (self.width - cell_len(text))
        return set_cell_size(text + padding if self.is_text else padding + text, self.width)


class LineTable(ScrollView, Generic[Key], can_focus=True, inherit_bindings=False):
    """A table that renders only its visible lines.

    Attributes:
        HEADER: fixed lines above the rows; the lowest holds the headings.
        FOOTER: fixed lines below them.
        LEAD: prefix of a normal row, prefix of the cursor's row.
        columns: columns on screen.
        row_count: number of rows.
        cursor_row: row under the cursor; 0 without rows.
        sort_column: name of the sort column; empty if no shown column is it.
        descending: whether the order is descending.
    """

    HEADER: ClassVar[int] = 1
    FOOTER: ClassVar[int] = 0
    LEAD: ClassVar[tuple[str, str]] = (" ", " ")
    COMPONENT_CLASSES: ClassVar[set[str]] = {"line-table--header", "line-table--sorted", "line-table--cursor"}
    DEFAULT_CSS = """
    LineTable {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        background: $background;
        color: $foreground;
    }
    LineTable > .line-table--header { color: $foreground 65%; }
    LineTable > .line-table--sorted { color: $foreground; text-style: bold; }
    LineTable > .line-table--cursor { background: $panel; text-style: bold; }
    LineTable:focus > .line-table--cursor { background: $primary 35%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor_up", "up", show=False),
        Binding("down,j", "cursor_down", "down", show=False),
        Binding("pageup,ctrl+u", "page_up", "page up", show=False),
        Binding("pagedown,ctrl+d", "page_down", "page down", show=False),
        Binding("home,g", "scroll_top", "first row", show=False),
        Binding("end,G", "scroll_bottom", "last row", show=False),
    ]

    columns: Sequence[LineColumn] = ()
    row_count = 0
    cursor_row = 0
    sort_column = ""
    descending = False
    _told: object = None

    @dataclass
    class Highlighted(Message, Generic[MessageKey]):
        """The cursor came to another row; the key is None where no row is left."""

        table: "LineTable[MessageKey]"
        key: MessageKey | None

    @dataclass
    class Selected(Message, Generic[MessageKey]):
        """A row was chosen, by enter or by a click on the row under the cursor."""

        table: "LineTable[MessageKey]"
        key: MessageKey

    # What a table gives.

    def key_at(self, row: int) -> Key:
        """Key of a row."""
        raise NotImplementedError

    def cells(self, row: int) -> Sequence[str]:
        """The texts of a row, one for each column."""
        raise NotImplementedError

    def cell_style(self, row: int, column: LineColumn, text: str) -> Style:
        """Style added to the row's for this cell."""
        return Style.null()

    def heading_selected(self, column: LineColumn) -> None:
        """Called when a heading was clicked."""

    # Where the rows are.

    @property
    def line_width(self) -> int:
        """Width for columns: the line without the scroll bar, which is always reserved."""
        return self.scrollable_content_region.width

    @property
    def page(self) -> int:
        """Rows that are in sight at once."""
        return max(1, self.size.height - self.HEADER - self.FOOTER)

    @property
    def first_row(self) -> int:
        """The uppermost row in sight."""
        return round(self.scroll_y)

    @property
    def last_row(self) -> int:
        """The lowest row in sight; -1 where there is none."""
        return min(self.first_row + self.page, self.row_count) - 1

    @property
    def current(self) -> Key | None:
        """Key of the row under the cursor; None without rows."""
        return self.key_at(self.cursor_row) if self.row_count else None

    def row_at(self, y: int) -> int | None:
        """The row that a line of the widget shows, or None."""
        row = self.first_row + y - self.HEADER
        return row if self.HEADER <= y < self.size.height - self.FOOTER and row < self.row_count else None

    def column_at(self, x: int) -> LineColumn | None:
        """The column at a cell of a line, the gap behind it included, or None."""
        end = len(self.LEAD[0])
        for column in self.columns:
            end += column.width + GAP
            if x < end:
                return column
        return None

    def replace_rows(self, count: int, row: int, *, is_steady: bool = False) -> None:
        """Replaces the rows.

        Args:
            count: number of the new rows.
            row: where the cursor goes, or as near as there is a row.
            is_steady: whether the cursor's row keeps its line on screen, so that a growing list does not jump;
                otherwise the scroll position stays.
        """
        row = max(0, min(row, count - 1))
        first = self.first_row + (row - self.cursor_row if is_steady else 0)
        self.row_count, self.cursor_row = count, row
        self._measure()
        self.scroll_to(y=first, animate=False)
        self._bring_in_sight()
        self.refresh()
        self.tell()

    def move_to(self, row: int) -> None:
        """Moves the cursor to a row, or as near as there is one."""
        before, self.cursor_row = self.cursor_row, max(0, min(row, self.row_count - 1))
        self._bring_in_sight()
        for changed in {before, self.cursor_row}:
            self.refresh_row(changed)
        self.tell()

    def tell(self, *, again: bool = False) -> None:
        """Posts `Highlighted` if another row came under the cursor, or if `again`."""
        if again or self.current != self._told:
            self._told = self.current
            self.post_message(self.Highlighted(self, self.current))

    def refresh_row(self, row: int) -> None:
        """Paints a row anew."""
        self.refresh_line(row + self.HEADER)

    def on_resize(self, _event: events.Resize) -> None:
        self._measure()
        self._bring_in_sight()

    def _measure(self) -> None:
        self.virtual_size = Size(self.line_width, self.row_count + self.HEADER + self.FOOTER)

    def _bring_in_sight(self) -> None:
        if self.cursor_row < self.first_row:
            self.scroll_to(y=self.cursor_row, animate=False)
        elif self.cursor_row >= self.first_row + self.page:
            self.scroll_to(y=self.cursor_row - self.page + 1, animate=False)

    # How they are painted.

    def render_line(self, y: int) -> Strip:
        if y >= self.size.height - self.FOOTER:
            return self.footer_line(y)
        if y < self.HEADER:
            return self.header_line(y)
        row = self.row_at(y)
        if row is None:
            return self.strip([], self.rich_style)
        is_current = row == self.cursor_row
        style = self.get_component_rich_style("line-table--cursor") if is_current else self.rich_style
        return self.strip(self.row_segments(row, style), style)

    def header_line(self, y: int) -> Strip:
        """The line of headings, with an arrow behind the sort column's."""
        plain = self.get_component_rich_style("line-table--header")
        segments = [Segment(self.LEAD[0], plain)]
        for column in self.columns:
            is_sorted = column.name == self.sort_column
            style = self.get_component_rich_style("line-table--sorted") if is_sorted else plain
            arrow = ARROWS[self.descending] if is_sorted else ""
            segments += [Segment(column.padded(column.heading), style), Segment(arrow.ljust(GAP), plain)]
        return self.strip(segments, plain)

    def footer_line(self, y: int) -> Strip:
        """A line below the rows."""
        raise NotImplementedError

    def row_segments(self, row: int, style: Style) -> Iterable[Segment]:
        """The pieces of a row.

        Args:
            row: its number.
            style: of all of it.
        """
        segments = [Segment(self.LEAD[row == self.cursor_row], style)]
        for column, text in zip(self.columns, self.cells(row), strict=True):
            cell = Segment(column.padded(text), style + self.cell_style(row, column, text))
            segments += [cell, Segment(" " * GAP, style)]
        return segments

    def strip(self, segments: Iterable[Segment], style: Style) -> Strip:
        """A line of these pieces, as wide as the table."""
        return Strip(segments).adjust_cell_length(self.size.width, style)

    # Keys and clicks.

    def on_click(self, event: events.Click) -> None:
        """Chooses a heading, or goes to the row, or chooses the row that the cursor is on."""
        place = event.get_content_offset(self)
        if place is None:
            return
        row = self.row_at(place.y)
        if place.y < self.HEADER and (column := self.column_at(place.x)) is not None:
            self.heading_selected(column)
        elif row is not None and row == self.cursor_row:
            self.action_select_cursor()
        elif row is not None:
            self.move_to(row)

    def action_select_cursor(self) -> None:
        current = self.current
        if current is None:
            self.notify("there is no row to choose", markup=False)
        else:
            self.post_message(self.Selected(self, current))

    def action_cursor_up(self) -> None:
        self.move_to(self.cursor_row - 1)

    def action_cursor_down(self) -> None:
        self.move_to(self.cursor_row + 1)

    def action_page_up(self) -> None:
        self.move_to(self.cursor_row - self.page)

    def action_page_down(self) -> None:
        self.move_to(self.cursor_row + self.page)

    def action_scroll_top(self) -> None:
        self.move_to(0)

    def action_scroll_bottom(self) -> None:
        self.move_to(self.row_count - 1)
