"""The tree of models and layers, drawn line by line: thousands of layers cost no more than those in sight.

One line of the tree of models as styled text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size, Spacing
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from psi_tui.screens.explore.outline import COLUMNS, Line, Outline, kind_glyph
from psi_tui.text.columns import fitting_columns

GAP = 2
"""Space between columns."""

MARKED, TAPPED, UNTAPPED = "●", "○", " "
"""A layer marked for a run; one that a run taps by default, while none is marked; any other."""


@dataclass(frozen=True, slots=True)
class LineStyles:
    """Styles of one line; under the cursor all have its background."""

    base: Style
    dim: Style
    group: Style
    marked: Style
    error: Style


def line_segments(
    line: Line, outline: Outline, columns: Sequence[tuple[int, int]], styles: LineStyles
) -> list[Segment]:
    """The styled pieces of a line.

    Args:
        line: what it stands for.
        outline: says what is marked.
        columns: place and width of every column that is shown.
        styles: of the line.
    """
    indent = "  " * line.depth
    if line.kind in ("note", "invitation"):
        style = styles.error if line.title.startswith("✗") else styles.dim
        width = sum(width for _, width in columns) + GAP * (len(columns) - 1)
        return [Segment(_cut(f"{indent}{'+ ' if line.kind == 'invitation' else ''}{line.title}", width), style)]
    if line.kind == "layer":
        return _layer_segments(line, outline, columns, styles)
    title = f"{indent}{'▾' if line.is_open else '▸'} {line.title}"
    room = columns[0][1] - cell_len(title) - GAP
    aside = f"  {line.aside}" if line.aside and cell_len(line.aside) <= room else ""
    cells = columns_text(["", *line.cells[1:]], columns) if line.cells else ""
    return [
        Segment(title, styles.group if line.kind == "group" else styles.base),
        Segment(aside, styles.marked if line.aside.startswith(MARKED) else styles.dim),
        Segment(cells[cell_len(title) + cell_len(aside) :], styles.dim),
    ]


def columns_text(texts: Sequence[str], columns: Sequence[tuple[int, int]]) -> str:
    """Texts set into columns, text flush left and numbers flush right.

    Args:
        texts: one for every column there is.
        columns: place and width of those that are shown.
    """
    parts = []
    for place, width in columns:
        padding = " " * (width - cell_len(texts[place]))
        text = texts[place] + padding if COLUMNS[place].is_text else padding + texts[place]
        parts.append(set_cell_size(text, width))
    return (" " * GAP).join(parts)


def _layer_segments(
    line: Line, outline: Outline, columns: Sequence[tuple[int, int]], styles: LineStyles
) -> list[Segment]:
    assert line.row is not None, "a layer has its row"
    is_marked = line.row["name"] in outline.marks.get(line.model, ())
    is_tapped = outline.is_tapped(line.model, line.row)
    mark = MARKED if is_marked else TAPPED if is_tapped else UNTAPPED
    indent, name_end = "  " * line.depth, columns[0][1]
    name = _cut_front(line.title, name_end - len(indent) - 4)
    text = columns_text([f"{indent}{mark} {kind_glyph(line.row['kind'])} {name}", *line.cells[1:]], columns)
    mark_end = len(indent) + 1
    return [
        Segment(text[:mark_end], styles.marked if is_marked else styles.base),
        Segment(text[mark_end:name_end], styles.base if is_tapped else styles.dim),
        Segment(text[name_end:], styles.dim),
    ]


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


def _cut_front(name: str, width: int) -> str:
    """A name with its beginning left out: the end of a module's path tells layers apart."""
    return name if len(name) <= width else f"…{name[len(name) - width + 1 :]}"


_HEADER = 1
_PARTS = ("dim", "group", "marked", "error")


class ModelTree(ScrollView, can_focus=True):
    """Shows an outline under a filter, with a cursor.

    Args:
        outline: what it shows; call `rebuild` after a change.
        id: of the widget.
    """

    DEFAULT_CSS = """
    ModelTree {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        background: $background;
        color: $foreground;
    }
    ModelTree > .model-tree--header { color: $foreground 65%; }
    ModelTree > .model-tree--dim { color: $foreground 65%; }
    ModelTree > .model-tree--group { text-style: bold; }
    ModelTree > .model-tree--marked { color: $accent; text-style: bold; }
    ModelTree > .model-tree--error { color: $error; }
    ModelTree > .model-tree--cursor { background: $panel; text-style: bold; }
    ModelTree:focus > .model-tree--cursor { background: $primary 35%; text-style: bold; }
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"model-tree--{part}" for part in ("header", "cursor", *_PARTS)}

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor_up", "up", show=False),
        Binding("down", "cursor_down", "down", show=False),
        Binding("left", "cursor_left", "close, or to what it lies in", show=False),
        Binding("right", "cursor_right", "open, or to what it holds", show=False),
        Binding("pageup", "page_up", "page up", show=False),
        Binding("pagedown", "page_down", "page down", show=False),
        Binding("home", "scroll_top", "first line", show=False),
        Binding("end", "scroll_bottom", "last line", show=False),
    ]

    @dataclass
    class Highlighted(Message):
        """The cursor came to a line, or what the line says changed; None where no line is left."""

        line: Line | None

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
        self.lines: list[Line] = outline.lines()
        self.cursor = 0
        self._last: Line | None = None
        self._before_filter: Line | None = None
        self._shown: list[tuple[int, int]] = []
        self._fitted_to: tuple[int, list[str]] = (0, [])

    @property
    def current(self) -> Line | None:
        """The line under the cursor."""
        return self.lines[self.cursor] if self.lines else None

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
                self._move(keys.index(self._before_filter.key))
            self._before_filter = None
        if self.lines and not self.lines[self.cursor].fits:
            self._move(next((place for place, line in enumerate(self.lines) if line.fits), 0))

    def keep_filter(self, text: str) -> None:
        """Shows the lines that hold every word; the cursor stays where it then is, also when the filter is cleared."""
        self.filter(text)
        self._before_filter = None

    def rebuild(self) -> None:
        """Reads the outline again; the cursor stays on its line, or comes back to it after a filter that left none."""
        if self.current is not None:
            self._last = self.current
        self.lines = self.outline.lines(self.filter_text)
        keys = [line.key for line in self.lines]
        if self._last is not None and self._last.key in keys:
            self.cursor = keys.index(self._last.key)
        else:
            is_filtered = bool(self.filter_text.split())
            self.cursor = 0 if is_filtered else max(0, min(self.cursor, len(keys) - 1))
        self.virtual_size = Size(self.size.width, len(self.lines) + _HEADER)
        self.refresh()
        self._scroll_to_cursor()
        self._tell()

    def go_to_model(self, model: str) -> None:
        for place, line in enumerate(self.lines):
            if line.kind == "model" and line.model == model:
                self._move(place)

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

    def on_mount(self) -> None:
        self._tell()

    def on_resize(self, _event: events.Resize) -> None:
        self.virtual_size = Size(self.size.width, len(self.lines) + _HEADER)
        self._scroll_to_cursor()
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Moves the cursor; a second click on its line opens it."""
        place = event.y + self.scroll_offset.y - _HEADER
        if event.y >= _HEADER and 0 <= place < len(self.lines):
            if place == self.cursor:
                self.open_current(not self.lines[place].is_open)
            else:
                self._move(place)

    def action_cursor_up(self) -> None:
        self._move(self.cursor - 1)

    def action_cursor_down(self) -> None:
        self._move(self.cursor + 1)

    def action_page_up(self) -> None:
        self._move(self.cursor - self._page())

    def action_page_down(self) -> None:
        self._move(self.cursor + self._page())

    def action_scroll_top(self) -> None:
        self._move(0)

    def action_scroll_bottom(self) -> None:
        self._move(len(self.lines) - 1)

    def action_cursor_left(self) -> None:
        """Closes an open line, else goes to the line it lies in."""
        line = self.current
        if line is not None and line.is_open and not self.filter_text.split():
            self.open_current(False)
            return
        depth = 0 if line is None else line.depth
        above = [place for place in range(self.cursor) if self.lines[place].depth < depth]
        if above:
            self._move(above[-1])
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
            self._move(self.cursor + 1)

    def _page(self) -> int:
        return max(1, self.size.height - _HEADER - 1)

    def _move(self, place: int) -> None:
        place = max(0, min(place, len(self.lines) - 1))
        if place == self.cursor:
            return
        before, self.cursor = self.cursor, place
        self.refresh_line(before + _HEADER)
        self.refresh_line(place + _HEADER)
        self._scroll_to_cursor()
        self._tell()

    def _tell(self) -> None:
        self.post_message(self.Highlighted(self.current))

    def _scroll_to_cursor(self) -> None:
        region = Region(0, self.cursor + _HEADER, 1, 1)
        self.scroll_to_region(region, spacing=Spacing(_HEADER, 0, 0, 0), animate=False, force=True)

    def _columns(self) -> list[tuple[int, int]]:
        """Places and widths of the columns that fit; the first column gets what the others leave."""
        width, widest = self.scrollable_content_region.width, self.outline.widest
        if self._fitted_to != (width, widest):
            kept = fitting_columns(COLUMNS, [widest], width)
            widths = {place: max(len(COLUMNS[place].title), cell_len(widest[place])) for place in kept}
            widths[0] = max(1, width - sum(widths[place] + GAP for place in kept[1:]))
            self._shown = [(place, widths[place]) for place in kept]
            self._fitted_to = (width, widest)
        return self._shown

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y < _HEADER:
            style = self.get_component_rich_style("model-tree--header")
            text = columns_text([column.title for column in COLUMNS], self._columns())
            return Strip([Segment(set_cell_size(text, width), style)], width)
        place = y + self.scroll_offset.y - _HEADER
        if place >= len(self.lines):
            return Strip.blank(width, self.rich_style)
        styles = self._styles(place)
        segments = line_segments(self.lines[place], self.outline, self._columns(), styles)
        return Strip(segments).adjust_cell_length(width, styles.base)

    def _styles(self, place: int) -> LineStyles:
        base = self.get_component_rich_style("model-tree--cursor") if place == self.cursor else self.rich_style
        parts = (self.get_component_rich_style(f"model-tree--{part}") for part in _PARTS)
        return LineStyles(base, *(base + Style(color=part.color, bold=part.bold or None) for part in parts))
