"""A table that always fits its width: the least important columns go first, and no key column is ever clipped."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.strip import Strip

from psi_tui.text.columns import GAP, ScreenColumn, column_width, fitted, hidden_titles, sorted_keys
from psi_tui.text.formatting import Row
from psi_tui.widgets.line_table import LineColumn, LineTable

_EDGES = 3
"""Cells of a line beside the columns: one before, one behind, and the scroll bar."""


class FittedTable(LineTable[str]):
    """A table over rows with keys, painted again only where a cell's text changed.

    Args:
        columns: all that could be shown.
        id: of the widget.
        styles: by a column's key, the style of a row's cell; never the only bearer of a meaning.
    """

    DEFAULT_CSS = """
    FittedTable {
        height: auto;
        max-height: 100%;
        scrollbar-size-vertical: 2;
        scrollbar-gutter: auto;
    }
    FittedTable:focus > .line-table--header { background: $background; background-tint: $foreground 5%; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort_next", "sort by the next column", show=False),
        Binding("S", "reverse", "reverse the order", show=False),
    ]

    def __init__(
        self,
        columns: Sequence[ScreenColumn],
        *,
        id: str | None = None,  # noqa: A002
        styles: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(id=id)
        self._all_columns = columns
        self._styles = styles or {}
        self._given: Mapping[str, Row] = {}
        self._rows: dict[str, Row] = {}
        self._keys: list[str] = []
        self._cells: list[list[str]] = []
        self._hidden = 0

    @property
    def shown_titles(self) -> list[str]:
        """Titles of the columns that fit."""
        return [column.heading for column in self.columns]

    def show_columns(self, columns: Sequence[ScreenColumn], styles: Mapping[str, Any] | None = None) -> None:
        """Puts other columns, and styles where they are given, in the place of the present ones; the rows stay."""
        self._all_columns = columns
        self._styles = self._styles if styles is None else styles
        self.show_rows(self._given)

    def show_rows(self, rows: Mapping[str, Row]) -> None:
        """Shows these rows in their order, or in that of the sort column.

        The cursor stays on its row; where that is gone it goes to the next one that is left, or the one before.
        """
        self._given = rows
        sorting = next((column for column in self._all_columns if column.key == self.sort_column), None)
        if self.sort_column and sorting is not None:
            rows = {key: rows[key] for key in sorted_keys(sorting, rows, descending=self.descending)}
        before = self.columns, self._keys, self._cells
        nearest = [*self._keys[self.cursor_row :], *reversed(self._keys[: self.cursor_row])]
        texts = [[column.cell(row) for column in self._all_columns] for row in rows.values()]
        places, shortened = fitted(self._all_columns, texts, self._room)
        hidden = len(hidden_titles(self._all_columns, places, texts))
        texts = shortened
        if hidden != self._hidden:
            self._hidden = hidden
            self.refresh_line(0)
        self._rows, self._keys = dict(rows), list(rows)
        self._cells = [[cells[place] for place in places] for cells in texts]
        self.columns = [self._line_column(place, texts) for place in places]
        if (self.columns, self._keys) == before[:2]:
            for row, (was, now) in enumerate(zip(before[2], self._cells, strict=True)):
                if was != now:
                    self.refresh_row(row)
        else:
            kept = next((key for key in nearest if key in self._rows), None)
            self.replace_rows(len(self._keys), 0 if kept is None else self._keys.index(kept))

    def select_key(self, key: str) -> None:
        """Moves the cursor to a row."""
        if key in self._rows:
            self.move_to(self._keys.index(key))

    def tab_separated(self) -> str:
        """The shown columns of every row as text, tabs between cells."""
        return "\n".join("\t".join(line) for line in [self.shown_titles, *self._cells])

    def header_line(self, y: int) -> Strip:
        """The headings, and how many columns there is no room for."""
        line = super().header_line(y)
        if not self._hidden:
            return line
        room = self.size.width - sum(column.width + GAP for column in self.columns) - len(self.LEAD[0])
        note = next((text for text in (f"{self._hidden} more hidden", f"+{self._hidden}") if len(text) < room), "+")
        style = self.get_component_rich_style("line-table--header")
        width = self.size.width - len(note) - 1
        return Strip([*line.adjust_cell_length(width, style), Segment(f"{note} ", style)])

    def key_at(self, row: int) -> str:
        return self._keys[row]

    def cells(self, row: int) -> Sequence[str]:
        return self._cells[row]

    def cell_style(self, row: int, column: LineColumn, text: str) -> Style:
        style = self._styles.get(column.name)
        return Style.null() if style is None else Style.parse(style(self._rows[self._keys[row]]))

    def on_resize(self, _event: events.Resize) -> None:
        self.show_rows(self._given)

    def action_sort_next(self) -> None:
        """Sorts by the next column in sight; after the last one, rows stand as they are given again."""
        keys = [column.name for column in self.columns if column.heading]
        place = keys.index(self.sort_column) + 1 if self.sort_column in keys else 0
        self._sort_by(keys[place] if place < len(keys) else "", descending=False)

    def action_reverse(self) -> None:
        if self.sort_column:
            self._sort_by(self.sort_column, descending=not self.descending)
        else:
            self.notify("rows stand in their own order; s sorts by a column", markup=False)

    def heading_selected(self, column: LineColumn) -> None:
        self._sort_by(column.name, descending=column.name == self.sort_column and not self.descending)

    def _sort_by(self, key: str, *, descending: bool) -> None:
        if not self.row_count:
            self.notify("there is no row to sort", markup=False)
            return
        self.sort_column, self.descending = key, descending
        self.show_rows(self._given)
        self.refresh_line(0)

    @property
    def _room(self) -> int:
        """Cells for the columns. A table that was empty may have no size yet, and gets none before it has rows."""
        return (self.size.width or self.app.size.width) - _EDGES

    def _line_column(self, place: int, texts: Sequence[Sequence[str]]) -> LineColumn:
        column = self._all_columns[place]
        return LineColumn(column.key, column.title, column_width(column, place, texts), column.is_text)
