"""Lines of the table of images, each a strip of styled text, made when they come in sight."""

from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual.cache import LRUCache
from textual.strip import Strip

from psi_tui.image_index import ImageView
from psi_tui.widgets.image_columns import (
    FLIPPED,
    GAP,
    CellTexts,
    ImageColumn,
    fitting_columns,
    group_line,
    is_missing_cell,
)

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
