"""The table of images: ten thousand rows, of which only those in sight are ever made into text.

Lines of the table of images, each a strip of styled text, made when they come in sight.
"""

from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.message import Message
from textual.strip import Strip

from psi_core.errors import ConfigError
from psi_tui.screens.results.images.columns import (
    FLIPPED,
    GAP,
    CellTexts,
    ImageColumn,
    column_at,
    fitting_columns,
    group_line,
    is_missing_cell,
)
from psi_tui.screens.results.images.index import ImageIndex, ImageView
from psi_tui.text.formatting import format_count
from psi_tui.widgets.row_scroll import RowScroll

_CURSOR = "▸"
_ARROWS = {False: "▲", True: "▼"}
_HINT_GAP = "   "


@dataclass(frozen=True, slots=True)
class LineStyles:
    """Styles of the table under one theme; those of cells are laid over the style of their row.

    Attributes:
        base: of a row.
        group: of the upper line of the header.
        header: of its lower line.
        sorted: of the heading of the column that the rows are sorted by.
        cursor: of the row under the cursor.
        flipped: of the prediction and the outcome of a flipped image.
        missing: of cells without a value.
        position: of the lowest line.
    """

    base: Style
    group: Style
    header: Style
    sorted: Style
    cursor: Style
    flipped: Style
    missing: Style
    position: Style


class ImageLines:
    """The lines of one view at one width.

    Args:
        view: of the images.
        width: of every line.
        sort_column: name of the column that the view is sorted by.
        descending: whether it falls.

    Attributes:
        columns: those that fit.
    """

    def __init__(self, view: ImageView, width: int, sort_column: str, descending: bool) -> None:
        self.columns: tuple[ImageColumn, ...] = fitting_columns(view.index, width)
        self._view = view
        self._width = width
        self._sort_column = sort_column
        self._arrow = _ARROWS[descending]
        self._texts = CellTexts(view.index, self.columns)
        self._cells: LRUCache[int, tuple[str, ...]] = LRUCache(1024)

    def groups(self, styles: LineStyles) -> Strip:
        """The upper line of the header: what columns have in common."""
        return self._strip([Segment(group_line(self.columns), styles.group)], styles.group)

    def headings(self, styles: LineStyles) -> Strip:
        """The lower line of the header; an arrow stands behind the heading that the rows are sorted by."""
        segments = [Segment(" ", styles.header)]
        for column in self.columns:
            is_sorted = column.name == self._sort_column
            segments.append(Segment(column.padded(column.heading), styles.sorted if is_sorted else styles.header))
            segments.append(Segment((self._arrow if is_sorted else "").ljust(GAP), styles.header))
        return self._strip(segments, styles.header)

    def row(self, row: int, styles: LineStyles, *, is_cursor: bool) -> Strip:
        """One row of the view; a pointer marks the one under the cursor, a cross the prediction that was flipped."""
        place = int(self._view.places[row])
        cells = self._cells.get(place)
        if cells is None:
            cells = self._cells[place] = self._texts.of(place)
        is_flipped = int(self._view.index.outcome[place]) == FLIPPED
        own = styles.cursor if is_cursor else styles.base
        segments = [Segment(_CURSOR if is_cursor else " ", own)]
        for column, cell in zip(self.columns, cells, strict=True):
            style = own
            if is_flipped and column.name in ("attacked", "outcome"):
                style = own + styles.flipped
            elif is_missing_cell(cell):
                style = own + styles.missing
            segments += [Segment(cell, style), Segment(" " * GAP, own)]
        return self._strip(segments, own)

    def position(self, text: str, styles: LineStyles) -> Strip:
        """The lowest line: which rows are in sight; where there is room, what the mark means and the order of rows."""
        title = next((column.title for column in self.columns if column.name == self._sort_column), self._sort_column)
        hints = [f"by {title} {self._arrow}"]
        if all(column.name != "outcome" for column in self.columns):
            hints.insert(0, self._texts.outcomes[FLIPPED])
        line = f" {text}"
        for hint in (_HINT_GAP.join(hints), hints[-1]):
            if len(line) + len(_HINT_GAP) + len(hint) < self._width:
                line += hint.rjust(self._width - len(line) - 1)
                break
        return self._strip([Segment(line, styles.position)], styles.position)

    def _strip(self, segments: list[Segment], style: Style) -> Strip:
        return Strip(segments).adjust_cell_length(self._width, style)


_IN_ROWS = ("flipped", "missing")
_PARTS = ("group", "header", "sorted", "cursor", "position", *_IN_ROWS)


class ImageMessage(Message):
    """Something about one image.

    Attributes:
        index: the image's position in the data set.
    """

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index


class ImageTable(RowScroll):
    """Images of a run, filtered and sorted, with a cursor.

    The columns that fit are shown; none is ever clipped and nothing scrolls sideways.

    Args:
        empty: what to say while there is no index.
        id: of the widget.

    Attributes:
        filter_text: words of `image_filter`; only images that all of them fit are shown.
        sort_column: name of a column of the index.
        descending: whether it falls.
    """

    HEADER = 2
    FOOTER = 1
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"image-table--{name}" for name in _PARTS}
    DEFAULT_CSS = """
    ImageTable { background: $background; color: $foreground; }
    ImageTable > .image-table--group { color: $foreground 65%; }
    ImageTable > .image-table--header { color: $foreground 65%; }
    ImageTable > .image-table--sorted { color: $foreground; text-style: bold; }
    ImageTable > .image-table--cursor { background: $panel; text-style: bold; }
    ImageTable:focus > .image-table--cursor { background: $primary 35%; }
    ImageTable > .image-table--flipped { color: $text-accent; text-style: bold; }
    ImageTable > .image-table--missing { color: $foreground 65%; }
    ImageTable > .image-table--position { background: $panel; color: $foreground 85%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h,right,l", "explain_sides", "more columns", show=False),
        Binding("enter", "select", "open"),
        Binding("s", "sort_next", "sort"),
        Binding("S", "reverse", "reverse"),
    ]

    class Highlighted(ImageMessage):
        """The cursor came to another image."""

    class Selected(ImageMessage):
        """An image was chosen, by enter or by a click on the row under the cursor."""

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

    def __init__(self, empty: str = "no images yet", *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.empty = empty
        self.filter_text = ""
        self.sort_column = "image"
        self.descending = False
        self._view: ImageView | None = None
        self._lines: ImageLines | None = None

    @property
    def index(self) -> ImageIndex | None:
        """All images, or None."""
        return self._view.index if self._view is not None else None

    @property
    def columns(self) -> tuple[ImageColumn, ...]:
        return self._lines.columns if self._lines is not None else ()

    @property
    def cursor_image(self) -> int | None:
        """The image under the cursor by its position in the data set, or None."""
        if self._view is None or not self.row_count:
            return None
        return int(self._view.index.image[self._view.places[self.cursor_row]])

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
        """Shows these images; filter, order and cursor stay as far as they fit them."""
        if index is None:
            self._put(None)
            return
        self.sort_column = self.sort_column if self.sort_column in index.columns else "image"
        try:
            view = index.filtered(self.filter_text)
        except ConfigError as error:  # Words that fitted another run.
            self.notify(f"{error}; the filter is taken away", markup=False)
            self.filter_text, view = "", index.filtered("")
        self._put(view, self.cursor_image)

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
        self._put(view, self.cursor_image)

    def sort_by(self, column: str, descending: bool = False) -> None:
        """Sorts by a column and goes to the first row; equal images stand in the order of the data set.

        Raises:
            ConfigError: there is no such column.
        """
        if self._view is not None:
            self._view.index.values(column)
        self.sort_column, self.descending = column, descending
        self._put(self._view.index.filtered(self.filter_text) if self._view is not None else None)

    def _put(self, view: ImageView | None, image: int | None = None) -> None:
        """Shows a view in the chosen order, the cursor on `image` if it has it."""
        before = self.cursor_image
        self._view = view.sorted_by(self.sort_column, self.descending) if view is not None else None
        row = self._view.row_of(image) if self._view is not None and image is not None else None
        self._prepare_lines()
        self.replace_rows(len(self._view) if self._view is not None else 0, row)
        if self.cursor_image != before:
            self.row_reached()

    def _prepare_lines(self) -> None:
        self._lines = (
            ImageLines(self._view, self.line_width, self.sort_column, self.descending)
            if self._view is not None
            else None
        )

    def row_reached(self) -> None:
        """Tells which image is under the cursor."""
        if self.cursor_image is not None:
            self.post_message(self.Highlighted(self.cursor_image))

    def on_resize(self, _event: events.Resize) -> None:
        self._prepare_lines()

    def render_line(self, y: int) -> Strip:
        styles, lines = self._line_styles(), self._lines
        if lines is not None and y == self.size.height - self.FOOTER:
            return lines.position(self.position_text, styles)
        if lines is None or not self.row_count:
            return self._empty_line(y, styles.base)
        if y < self.HEADER:
            return lines.headings(styles) if y else lines.groups(styles)
        row = self.row_at(y)
        if row is None:
            return Strip.blank(self.line_width, styles.base)
        return lines.row(row, styles, is_cursor=row == self.cursor_row)

    def _empty_line(self, y: int, style: Style) -> Strip:
        text = self.empty if self._view is None else f"no image fits {self.filter_text!r}; / changes the filter"
        is_middle = y == (self.size.height - self.FOOTER) // 2
        line = text.center(self.line_width) if is_middle else ""
        return Strip([Segment(line, style)]).adjust_cell_length(self.line_width, style)

    def _line_styles(self) -> LineStyles:
        whole = {name: self.get_component_rich_style(f"image-table--{name}") for name in _PARTS}
        for name in _IN_ROWS:  # They keep the background of their row.
            whole[name] = Style(color=whole[name].color, bold=whole[name].bold)
        return LineStyles(base=self.rich_style, **whole)

    def action_explain_sides(self) -> None:
        self.notify("nothing lies to the side; a wider terminal shows more columns", markup=False)

    def action_select(self) -> None:
        if self.cursor_image is None:
            self.notify("there is no image to open", markup=False)
        else:
            self.post_message(self.Selected(self.cursor_image))

    def action_sort_next(self) -> None:
        """Sorts by the next of the columns that are shown, rising."""
        names = [column.name for column in self.columns]
        place = names.index(self.sort_column) if self.sort_column in names else -1
        self._sort_and_tell(names[(place + 1) % len(names)] if names else self.sort_column, False)

    def action_reverse(self) -> None:
        self._sort_and_tell(self.sort_column, not self.descending)

    def _sort_and_tell(self, column: str, descending: bool) -> None:
        if self.cursor_image is None:
            self.notify("there is no image to sort", markup=False)
            return
        self.sort_by(column, descending)
        self.post_message(self.Sorted(column, descending))

    def on_click(self, event: events.Click) -> None:
        """Sorts by the heading, or goes to the row, or opens the row that the cursor is on."""
        place = event.get_content_offset(self)
        if place is None:
            return
        column = column_at(self.columns, place.x) if place.y < self.HEADER else None
        row = self.row_at(place.y)
        if column is not None:
            self._sort_and_tell(column.name, column.name == self.sort_column and not self.descending)
        elif row is not None and row == self.cursor_row:
            self.action_select()
        elif row is not None:
            self.move_to(row)
