"""The table of images: ten thousand rows, of which only those in sight are ever made into text."""

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.message import Message
from textual.strip import Strip

from psi_core.errors import ConfigError
from psi_tui.screens.results.images.columns import FOOLED, CellTexts, ImageColumn, fitting_columns, group_line
from psi_tui.screens.results.images.index import ImageIndex, ImageView
from psi_tui.text.formatting import MISSING, format_count
from psi_tui.widgets.line_table import ARROWS, LineColumn, LineTable

_HINT_GAP = "   "


class ImageTable(LineTable[int]):
    """Images of a run, filtered and sorted; a row stands for an image by its position in the data set.

    The columns that fit are shown; none is ever clipped and nothing scrolls sideways. A pointer marks the row under the
    cursor, a cross the prediction that was fooled.

    Args:
        empty: what to say while there is no index.
        id: of the widget.

    Attributes:
        filter_text: words of `image_filter`; only images that all of them fit are shown.
    """

    HEADER = 2
    FOOTER = 1
    LEAD = (" ", "▸")
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"image-table--{name}" for name in ("fooled", "missing", "position")}
    DEFAULT_CSS = """
    ImageTable > .image-table--fooled { color: $text-accent; text-style: bold; }
    ImageTable > .image-table--missing { color: $foreground 65%; }
    ImageTable > .image-table--position { background: $panel; color: $foreground 85%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h,right,l", "explain_sides", "more columns", show=False),
        Binding("enter", "select_cursor", "open"),
        Binding("s", "sort_next", "sort"),
        Binding("S", "reverse", "reverse"),
    ]

    class Sorted(Message):
        """The user chose another order.

        Attributes:
            column: name of a column of the index.
            descending: whether it falls.
        """

        def __init__(self, column: str, descending: bool) -> None:
            super().__init__()
            self.column = column
            self.descending = descending

    columns: Sequence[ImageColumn] = ()

    def __init__(self, empty: str = "no images yet", *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.empty = empty
        self.filter_text = ""
        self.sort_column = "image"
        self._view: ImageView | None = None
        self._texts: CellTexts | None = None
        self._cells: LRUCache[int, tuple[str, ...]] = LRUCache(1024)

    @property
    def index(self) -> ImageIndex | None:
        """All images, or None."""
        return self._view.index if self._view is not None else None

    @property
    def position_text(self) -> str:
        """Which rows are in sight: `rows 1-22 of 10,000`, with a filter `rows 1-22 of 431 (filtered from 10,000)`."""
        if self._view is None:
            return self.empty
        first, last, count = (
            format_count(number) for number in (self.first_row + 1, self.last_row + 1, self.row_count)
        )
        text = f"rows {first}-{last} of {count}" if self.row_count else "no rows"
        return f"{text} (filtered from {format_count(self._view.total)})" if self.filter_text else text

    def show(self, index: ImageIndex | None) -> None:
        """Shows these images; filter, order and cursor stay as far as they fit them, else the cursor's place does."""
        if index is None:
            self._put(None)
            return
        self.sort_column = self.sort_column if self.sort_column in index.columns else "image"
        try:
            view = index.filtered(self.filter_text)
        except ConfigError as error:  # Words that fitted another run.
            self.notify(f"{error}; the filter is taken away", markup=False)
            self.filter_text, view = "", index.filtered("")
        self._put(view, self.current, otherwise=self.cursor_row)

    def choose_layer(self, name: str) -> None:
        """Shows PSI of another layer.

        Raises:
            RunError: the images have no such layer.
        """
        if self._view is not None and name != self._view.index.layer:
            self.show(self._view.index.with_layer(name))

    def filter_by(self, text: str) -> None:
        """Shows the images that every word of `text` fits; the cursor stays on its image where it is one of them.

        Raises:
            ConfigError: a word means nothing; the filter then stays as it was.
        """
        view = self._view.index.filtered(text) if self._view is not None else None
        self.filter_text = text.strip()
        self._put(view, self.current)

    def sort_by(self, column: str, descending: bool = False) -> None:
        """Sorts by a column and goes to the first row; equal images stand in the order of the data set.

        Raises:
            ConfigError: there is no such column.
        """
        if self._view is not None:
            self._view.index.values(column)
        self.sort_column, self.descending = column, descending
        self._put(self._view.index.filtered(self.filter_text) if self._view is not None else None)

    def _put(self, view: ImageView | None, image: int | None = None, *, otherwise: int = 0) -> None:
        """Shows a view in the chosen order, the cursor on `image` if it has it, on the row `otherwise` if not."""
        self._view = view.sorted_by(self.sort_column, self.descending) if view is not None else None
        row = self._view.row_of(image) if self._view is not None and image is not None else None
        self._fit()
        count = len(self._view) if self._view is not None else 0
        self.replace_rows(count, otherwise if row is None else row, is_steady=True)

    def _fit(self) -> None:
        """Chooses the columns for the present view and width."""
        self.columns = fitting_columns(self._view.index, self.line_width) if self._view is not None else ()
        self._texts = CellTexts(self._view.index, self.columns) if self._view is not None else None
        self._cells.clear()

    def on_resize(self, _event: events.Resize) -> None:
        self._fit()

    def key_at(self, row: int) -> int:
        return int(self._need_view().index.image[self._place(row)])

    def cells(self, row: int) -> Sequence[str]:
        assert self._texts is not None, "a row belongs to a view"
        place = self._place(row)
        if place not in self._cells:
            self._cells[place] = self._texts.of(place)
        return self._cells[place]

    def cell_style(self, row: int, column: LineColumn, text: str) -> Style:
        if column.name in ("attacked", "outcome") and self._need_view().index.outcome[self._place(row)] == FOOLED:
            part = "fooled"
        elif text == MISSING:  # Its layer was silent.
            part = "missing"
        else:
            return Style.null()
        style = self.get_component_rich_style(f"image-table--{part}")
        return Style(color=style.color, bold=style.bold)  # The background stays that of the row.

    def _need_view(self) -> ImageView:
        assert self._view is not None, "a row belongs to a view"
        return self._view

    def _place(self, row: int) -> int:
        return int(self._need_view().places[row])

    def render_line(self, y: int) -> Strip:
        is_position = self._view is not None and y >= self.size.height - self.FOOTER
        return super().render_line(y) if self.row_count or is_position else self._empty_line(y)

    def _empty_line(self, y: int) -> Strip:
        text = self.empty if self._view is None else f"no image fits {self.filter_text!r}; / changes the filter"
        is_middle = y == (self.size.height - self.FOOTER) // 2
        line = text.center(self.line_width) if is_middle else ""
        return self.strip([Segment(line, self.rich_style)], self.rich_style)

    def header_line(self, y: int) -> Strip:
        """What columns have in common above, the headings below."""
        if y:
            return super().header_line(y)
        style = self.get_component_rich_style("line-table--header")
        return self.strip([Segment(group_line(self.columns), style)], style)

    def footer_line(self, y: int) -> Strip:
        """Which rows are in sight; where there is room, what the mark means and the order of rows."""
        assert self._texts is not None, "without a view all lines are empty"
        title = next((column.title for column in self.columns if column.name == self.sort_column), self.sort_column)
        hints = [f"by {title} {ARROWS[self.descending]}"]
        is_alone = self._view is not None and self._view.index.is_alone
        if not is_alone and all(column.name != "outcome" for column in self.columns):
            hints.insert(0, self._texts.outcomes[FOOLED])
        line = f" {self.position_text}"
        for hint in (_HINT_GAP.join(hints), hints[-1]):
            if len(line) + len(_HINT_GAP) + len(hint) < self.line_width:
                line += hint.rjust(self.line_width - len(line) - 1)
                break
        style = self.get_component_rich_style("image-table--position")
        return self.strip([Segment(line, style)], style)

    def heading_selected(self, column: LineColumn) -> None:
        self._sort_and_tell(column.name, column.name == self.sort_column and not self.descending)

    def action_explain_sides(self) -> None:
        self.notify("nothing lies to the side; a wider terminal shows more columns", markup=False)

    def action_sort_next(self) -> None:
        """Sorts by the next of the columns that are shown, rising."""
        names = [column.name for column in self.columns]
        place = names.index(self.sort_column) if self.sort_column in names else -1
        self._sort_and_tell(names[(place + 1) % len(names)] if names else self.sort_column, False)

    def action_reverse(self) -> None:
        self._sort_and_tell(self.sort_column, not self.descending)

    def _sort_and_tell(self, column: str, descending: bool) -> None:
        if self.current is None:
            self.notify("there is no image to sort", markup=False)
            return
        self.sort_by(column, descending)
        self.post_message(self.Sorted(column, descending))
