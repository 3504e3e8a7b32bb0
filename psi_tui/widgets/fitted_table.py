"""A table that always fits its width: the least important columns go first, and no key column is ever clipped."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from psi_tui.text.columns import ScreenColumn, column_width, fitting_columns
from psi_tui.text.formatting import Row

_SCROLLBAR = 1


class FittedTable(DataTable[Text], inherit_bindings=False):
    """A DataTable over rows with keys, drawn again only where a cell's text changed.

    Args:
        columns: all that could be shown.
        id: of the widget.
        styles: by column title, the style of a row's cell; never the only bearer of a meaning.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor_up", "up", show=False),
        Binding("down,j", "cursor_down", "down", show=False),
        Binding("pageup,ctrl+u", "page_up", "page up", show=False),
        Binding("pagedown,ctrl+d", "page_down", "page down", show=False),
        Binding("home,g", "scroll_top", "first row", show=False),
        Binding("end,G", "scroll_bottom", "last row", show=False),
    ]

    def __init__(
        self,
        columns: Sequence[ScreenColumn],
        *,
        id: str | None = None,  # noqa: A002
        styles: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self._all_columns = columns
        self._styles = styles or {}
        self._rows: dict[str, Row] = {}
        self._shown: list[tuple[int, int]] = []
        self._cells: dict[str, list[str]] = {}

    @property
    def current_key(self) -> str | None:
        keys = list(self._rows)
        return keys[self.cursor_row] if 0 <= self.cursor_row < len(keys) else None

    @property
    def shown_titles(self) -> list[str]:
        """Titles of the columns that fit."""
        return [self._all_columns[place].title for place, _ in self._shown]

    def show_columns(self, columns: Sequence[ScreenColumn]) -> None:
        """Puts other columns in the place of the present ones; the rows stay."""
        self._all_columns = columns
        self._shown = []
        self.show_rows(self._rows)

    def show_rows(self, rows: Mapping[str, Row]) -> None:
        """Shows these rows in their order; the cursor stays on its row where that is still there."""
        self._rows = dict(rows)
        texts = {key: [column.cell(row) for column in self._all_columns] for key, row in rows.items()}
        shown = self._fit(list(texts.values()))
        if shown == self._shown and list(texts) == list(self._cells):
            self._update_changed(texts)
        else:
            self._rebuild(texts, shown)

    def select_key(self, key: str) -> None:
        """Moves the cursor to a row."""
        if key in self._rows:
            self.move_cursor(row=list(self._rows).index(key), animate=False)

    def tab_separated(self) -> str:
        """The shown columns of every row as text, tabs between cells."""
        lines = [self.shown_titles, *([cells[place] for place, _ in self._shown] for cells in self._cells.values())]
        return "\n".join("\t".join(line) for line in lines)

    def on_resize(self, _event: events.Resize) -> None:
        self.show_rows(self._rows)

    def _fit(self, texts: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
        # One that was empty may have no size yet, and gets none before it has rows: they are fitted again then.
        width = (self.size.width or self.app.size.width) - 2 * self.cell_padding - _SCROLLBAR
        return [
            (place, column_width(self._all_columns[place], place, texts))
            for place in fitting_columns(self._all_columns, texts, width)
        ]

    def _update_changed(self, texts: Mapping[str, Sequence[str]]) -> None:
        for key, cells in texts.items():
            for place, _ in self._shown:
                if cells[place] != self._cells[key][place]:
                    self.update_cell(key, self._all_columns[place].title, self._cell(key, place, cells[place]))
        self._cells = {key: list(cells) for key, cells in texts.items()}

    def _rebuild(self, texts: Mapping[str, Sequence[str]], shown: list[tuple[int, int]]) -> None:
        before = list(self._cells)
        key = before[self.cursor_row] if 0 <= self.cursor_row < len(before) else None
        scrolled = self.scroll_y
        with self.prevent(DataTable.RowHighlighted):
            self.clear(columns=True)
            for place, width in shown:
                column = self._all_columns[place]
                title = Text(column.title, justify="left" if column.is_text else "right")
                self.add_column(title, key=column.title, width=width)
            for row_key, cells in texts.items():
                self.add_row(*(self._cell(row_key, place, cells[place]) for place, _ in shown), key=row_key)
        self._shown = shown
        self._cells = {row_key: list(cells) for row_key, cells in texts.items()}
        if key in self._cells:
            self.move_cursor(row=list(self._cells).index(key), animate=False, scroll=False)
            self.scroll_to(y=scrolled, animate=False)

    def _cell(self, key: str, place: int, text: str) -> Text:
        column = self._all_columns[place]
        style = self._styles[column.title](self._rows[key]) if column.title in self._styles else ""
        return Text(text, style=style, justify="left" if column.is_text else "right", no_wrap=True)
