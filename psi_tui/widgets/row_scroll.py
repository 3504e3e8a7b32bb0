"""Rows with a cursor between fixed lines: where the rows are and how keys move among them; not what stands in them."""

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView


class RowScroll(ScrollView, can_focus=True, inherit_bindings=False):
    """A line API widget of rows one line high, of which one is under the cursor.

    Attributes:
        HEADER: fixed lines above the rows.
        FOOTER: fixed lines below them.
        row_count: how many rows there are.
        cursor_row: the one under the cursor; 0 where there is none.
    """

    HEADER: ClassVar[int] = 0
    FOOTER: ClassVar[int] = 0
    DEFAULT_CSS = """
    RowScroll {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor_up", "up", show=False),
        Binding("down,j", "cursor_down", "down", show=False),
        Binding("pageup", "page_up", "page up", show=False),
        Binding("pagedown", "page_down", "page down", show=False),
        Binding("home,g", "scroll_top", "first", show=False),
        Binding("end,G", "scroll_bottom", "last", show=False),
    ]

    row_count = 0
    cursor_row = 0

    @property
    def line_width(self) -> int:
        """Cells of a line, the scroll bar's left out."""
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

    def row_at(self, y: int) -> int | None:
        """The row that a line of the widget shows, or None."""
        row = self.first_row + y - self.HEADER
        return row if self.HEADER <= y < self.size.height - self.FOOTER and row < self.row_count else None

    def replace_rows(self, count: int, row: int | None) -> None:
        """Puts other rows in the place of the present ones.

        Args:
            count: of the new rows.
            row: where the row under the cursor is now: it keeps its height on screen, so that rows that grow do not
                jump. None: it is gone, and the cursor goes to the first.
        """
        first = 0 if row is None else self.first_row + row - self.cursor_row
        self.row_count, self.cursor_row = count, row or 0
        self._measure()
        self.scroll_to(y=first, animate=False)
        self._bring_in_sight()
        self.refresh()

    def move_to(self, row: int) -> None:
        """Moves the cursor to a row, or as near as there is one."""
        before, self.cursor_row = self.cursor_row, max(0, min(row, self.row_count - 1))
        self._bring_in_sight()
        for changed in (before, self.cursor_row):
            self.refresh_line(changed + self.HEADER)
        if self.cursor_row != before:
            self.row_reached()

    def row_reached(self) -> None:
        """Is called when the cursor has come to another row."""

    def on_resize(self, _event: events.Resize) -> None:
        self._measure()
        self._bring_in_sight()

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

    def _measure(self) -> None:
        self.virtual_size = Size(self.line_width, self.row_count + self.HEADER + self.FOOTER)

    def _bring_in_sight(self) -> None:
        if self.cursor_row < self.first_row:
            self.scroll_to(y=self.cursor_row, animate=False)
        elif self.cursor_row >= self.first_row + self.page:
            self.scroll_to(y=self.cursor_row - self.page + 1, animate=False)
