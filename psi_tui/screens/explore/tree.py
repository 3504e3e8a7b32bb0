"""The tree of models and layers: thousands of layers cost no more than those in sight."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from psi_tui.screens.explore.outline import COLUMNS, Line, Outline, kind_glyph
from psi_tui.text.columns import GAP, fitting_columns
from psi_tui.widgets.line_table import LineColumn, LineTable

MARKED, TAPPED, UNTAPPED = "●", "○", " "
"""A layer marked for a run; one that a run taps by default, while none is marked; any other."""

_PARTS = ("dim", "group", "marked", "error")


@dataclass(frozen=True, slots=True)
class LineStyles:
    """Styles of one line; under the cursor all have its background."""

    base: Style
    dim: Style
    group: Style
    marked: Style
    error: Style


class ModelTree(LineTable[Line]):
    """Shows an outline under a filter; a row stands for a line of it.

    Args:
        outline: what it shows; call `rebuild` after a change.
        id: of the widget.
    """

    LEAD = ("", "")
    DEFAULT_CSS = """
    ModelTree > .model-tree--dim { color: $foreground 65%; }
    ModelTree > .model-tree--group { text-style: bold; }
    ModelTree > .model-tree--marked { color: $accent; text-style: bold; }
    ModelTree > .model-tree--error { color: $error; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"model-tree--{part}" for part in _PARTS}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "cursor_left", "close, or to what it lies in", show=False),
        Binding("right", "cursor_right", "open, or to what it holds", show=False),
    ]

    @dataclass
    class Opened(Message):
        """A line was asked to show what lies below it; nothing of it may be loaded yet."""

        line: Line

    @dataclass
    class Refused(Message):
        """A key could not act."""

        sentence: str

    def __init__(self, outline: Outline, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.outline = outline
        self.filter_text = ""
        self.lines: list[Line] = []
        self._last: Line | None = None
        self._before_filter: Line | None = None

    def on_mount(self) -> None:
        self.rebuild()

    def filter(self, text: str) -> None:
        """Shows the lines that hold every word; the cursor goes to the first of them unless its own line is one.

        A filter that is given up takes it back to where it was.
        """
        if text.split() and not self.filter_text.split():
            self._before_filter = self.current
        self.filter_text = text
        self.rebuild()
        if not text.split() and self._before_filter is not None:
            keys = [line.key for line in self.lines]
            if self._before_filter.key in keys:
                self.move_to(keys.index(self._before_filter.key))
            self._before_filter = None
        if self.current is not None and not self.current.fits:
            self.move_to(next((place for place, line in enumerate(self.lines) if line.fits), 0))

    def keep_filter(self, text: str) -> None:
        """Shows the lines that hold every word; the cursor stays where it then is, also when the filter is cleared."""
        self.filter(text)
        self._before_filter = None

    def rebuild(self) -> None:
        """Reads the outline again; the cursor stays on its line, or comes back to it after a filter that left none.

        What is under the cursor is told also where it is the same line: what is known of it may have changed.
        """
        self._last = self.current or self._last
        self.lines = self.outline.lines(self.filter_text)
        keys = [line.key for line in self.lines]
        if self._last is not None and self._last.key in keys:
            row = keys.index(self._last.key)
        else:
            is_filtered = bool(self.filter_text.split())
            row = 0 if is_filtered else self.cursor_row
        self._fit()
        self.replace_rows(len(keys), row)
        self.tell(again=True)

    def go_to_model(self, model: str) -> None:
        for row, line in enumerate(self.lines):
            if line.kind == "model" and line.model == model:
                self.move_to(row)

    def open_current(self, is_open: bool = True) -> None:
        """Shows or hides what lies below the line under the cursor."""
        line = self.current
        if line is None:
            self.post_message(self.Refused("no line fits the filter; esc clears it"))
        elif self.filter_text.split() and line.is_open:
            self.post_message(self.Refused("a filter keeps open what fits; esc clears it"))
        else:
            self.outline.open(line, is_open)
            self.rebuild()
            if is_open:
                self.post_message(self.Opened(line))

    def on_resize(self, _event: events.Resize) -> None:
        self._fit()

    def action_select_cursor(self) -> None:
        self.open_current(self.current is None or not self.current.is_open)

    def action_cursor_left(self) -> None:
        """Closes an open line, else goes to the line it lies in."""
        line = self.current
        if line is not None and line.is_open and not self.filter_text.split():
            self.open_current(False)
            return
        depth = 0 if line is None else line.depth
        above = [place for place in range(self.cursor_row) if self.lines[place].depth < depth]
        if above:
            self.move_to(above[-1])
        else:
            self.post_message(self.Refused("this line lies in no other; j and k go to its neighbors"))

    def action_cursor_right(self) -> None:
        """Opens a closed line, else goes to the first line below it."""
        line = self.current
        if line is None or line.kind not in ("group", "model"):
            self.post_message(self.Refused("nothing lies below this line; space marks a layer"))
        elif not line.is_open:
            self.open_current()
        else:
            self.move_to(self.cursor_row + 1)

    # How a line looks.

    def _fit(self) -> None:
        """Chooses the columns that fit; the first gets what the others leave."""
        width, widest = self.line_width, self.outline.widest
        kept = fitting_columns(COLUMNS, [widest], width)
        widths = {place: max(len(COLUMNS[place].title), cell_len(widest[place])) for place in kept}
        widths[0] = max(1, width - sum(widths[place] + GAP for place in kept[1:]))
        self._places = kept
        self.columns = [
            LineColumn(COLUMNS[place].title, COLUMNS[place].title, widths[place], COLUMNS[place].is_text)
            for place in kept
        ]

    def key_at(self, row: int) -> Line:
        return self.lines[row]

    def row_segments(self, row: int, style: Style) -> list[Segment]:
        line = self.lines[row]
        parts = (self.get_component_rich_style(f"model-tree--{part}") for part in _PARTS)
        styles = LineStyles(style, *(style + Style(color=part.color, bold=part.bold or None) for part in parts))
        indent = "  " * line.depth
        if line.kind in ("note", "invitation"):
            text = f"{indent}{'+ ' if line.kind == 'invitation' else ''}{line.title}"
            return [Segment(_cut(text, self.line_width), styles.error if line.title.startswith("✗") else styles.dim)]
        if line.kind == "layer":
            return self._layer_segments(line, indent, styles)
        title = f"{indent}{'▾' if line.is_open else '▸'} {line.title}"
        room = self.columns[0].width - cell_len(title) - GAP
        aside = f"  {line.aside}" if line.aside and cell_len(line.aside) <= room else ""
        cells = self._text("", line) if line.cells else ""
        return [
            Segment(title, styles.group if line.kind == "group" else styles.base),
            Segment(aside, styles.marked if line.aside.startswith(MARKED) else styles.dim),
            Segment(cells[cell_len(title) + cell_len(aside) :], styles.dim),
        ]

    def _layer_segments(self, line: Line, indent: str, styles: LineStyles) -> list[Segment]:
        assert line.row is not None, "a layer has its row"
        is_marked = line.row["name"] in self.outline.marks.get(line.model, ())
        is_tapped = self.outline.is_tapped(line.model, line.row)
        mark = MARKED if is_marked else TAPPED if is_tapped else UNTAPPED
        name_end, mark_end = self.columns[0].width, len(indent) + 1
        name = _cut_front(line.title, name_end - len(indent) - 4)
        text = self._text(f"{indent}{mark} {kind_glyph(line.row['kind'])} {name}", line)
        return [
            Segment(text[:mark_end], styles.marked if is_marked else styles.base),
            Segment(text[mark_end:name_end], styles.base if is_tapped else styles.dim),
            Segment(text[name_end:], styles.dim),
        ]

    def _text(self, first: str, line: Line) -> str:
        """A line's cells in their columns, the first of them given."""
        cells: Sequence[str] = [first, *line.cells[1:]]
        padded = (column.padded(cells[place]) for place, column in zip(self._places, self.columns, strict=True))
        return (" " * GAP).join(padded)


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


def _cut_front(name: str, width: int) -> str:
    """A name with its beginning left out: the end of a module's path tells layers apart."""
    return name if len(name) <= width else f"…{name[len(name) - width + 1 :]}"
