"""One line of the tree of models as styled text."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from psi_tui.layer_kinds import kind_glyph
from psi_tui.model_outline import COLUMNS, Line, Outline

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
