"""Columns of the table of images: which fit a width, what each is called, and the text of its cells."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from psi_core.conditions import Condition
from psi_core.tables.columns import Kind
from psi_tui.screens.results.images.index import OUTCOMES, ImageIndex
from psi_tui.text.columns import GAP
from psi_tui.text.formatting import format_cell
from psi_tui.widgets.line_table import LineColumn

FOOLED = OUTCOMES.index("fooled")
_MARKS = ("✓", "✗", "○", "+")
_ALONE = ("right", "", "wrong", "")
_LONGEST_NAME = 12


@dataclass(frozen=True, slots=True)
class ImageColumn(LineColumn):
    """One column on screen.

    Attributes:
        group: above several columns side by side; empty: none.
        kind: how its values are rounded.
        title: what it is called where neither heading nor group stands beside it.
    """

    group: str
    kind: Kind
    title: str


def fitting_columns(index: ImageIndex, width: int) -> tuple[ImageColumn, ...]:
    """The columns that fit a width, in their order on screen; a wider one shows the same and more.

    The eight key columns take 73 cells with their gaps; PSI shifts of the other layers come where there is room.
    """
    columns, chosen, left = _columns(index), set[str](), width - 1
    for column in (columns[name] for name in _by_importance(index, columns)):
        left -= column.width + GAP
        if left < 0 and chosen:
            break
        chosen.add(column.name)
    return tuple(column for name, column in columns.items() if name in chosen)


def group_line(columns: Sequence[ImageColumn]) -> str:
    """The upper line of the header: what columns side by side have in common, ruled over all of them."""
    parts = []
    for group, members in groupby(columns, key=lambda column: column.group):
        span = sum(column.width + GAP for column in members) - GAP
        title = f" {group} " if group and len(group) + 4 <= span else shortened(group, span)
        parts.append(title.center(span, "─" if group else " ") + " " * GAP)
    return " " + "".join(parts)


class CellTexts:
    """The texts of cells of an index.

    Args:
        index: of the images.
        columns: to show.

    Attributes:
        outcomes: mark and word of each outcome; `right` and `wrong` where nothing was done to the images.
    """

    def __init__(self, index: ImageIndex, columns: Sequence[ImageColumn]) -> None:
        self._values = [(column, index.values(column.name)) for column in columns]
        self._outcomes = index.outcome
        words = _ALONE if index.is_alone else OUTCOMES
        self.outcomes = tuple(f"{mark} {word}" for mark, word in zip(_MARKS, words, strict=True))

    def of(self, place: int) -> tuple[str, ...]:
        """The texts of one row, by the image's place in the index's arrays."""
        outcome = int(self._outcomes[place])
        texts = []
        for column, values in self._values:
            if column.name == "outcome":
                text = self.outcomes[outcome]
            elif column.kind == "count":
                text = str(values[place])  # Names, not amounts: without commas.
                if column.name == "attacked" and outcome == FOOLED:
                    text = f"{_MARKS[FOOLED]} {text}"
            else:
                text = format_cell(float(values[place]), column.kind)
            texts.append(text)
        return tuple(texts)


def shortened(name: str, width: int) -> str:
    """The end of a name, which tells layers apart, in at most `width` cells."""
    return name if len(name) <= width else f"…{name[len(name) - width + 1 :]}"


def _column(name: str, heading: str, group: str, width: int, kind: Kind, title: str) -> ImageColumn:
    """One column; texts are set flush left."""
    return ImageColumn(name, heading, width, kind == "text", group, kind, title)


def _image_width(index: ImageIndex) -> int:
    return max(6, len(str(index.image[-1])) if len(index.image) else 0)


def _benign_columns(index: ImageIndex) -> dict[str, ImageColumn]:
    """Where nothing was done to the images."""
    columns = [
        _column("image", "image", "", _image_width(index), "count", "image"),
        _column("label", "label", "", 5, "count", "label"),
        _column("benign", "prediction", "", 10, "count", "prediction"),
        _column("outcome", "outcome", "", 10, "text", "outcome"),
        _column("confidence_benign", "confidence", "", 10, "number", "confidence"),
    ]
    for layer in index.layers:
        heading = shortened(layer, _LONGEST_NAME)
        name = "psi_benign" if layer == index.layer else f"psi_{layer}"
        columns.append(_column(name, heading, "PSI", max(6, len(heading)), "psi", f"PSI of {layer}"))
    if not index.has_true_labels:  # They are the predictions themselves.
        columns = [each for each in columns if each.name not in ("label", "outcome")]
    return {each.name: each for each in columns}


def _columns(index: ImageIndex) -> dict[str, ImageColumn]:
    """Every column in its order on screen."""
    if index.is_alone:
        return _benign_columns(index)
    second = "control" if Condition.of_name(index.condition).is_control else "attacked"
    of_layer = f"PSI of {index.layer}"
    columns = [
        _column("image", "image", "", _image_width(index), "count", "image"),
        _column("label", "label", "", 5, "count", "label"),
        _column("benign", "benign", "prediction", 6, "count", "benign prediction"),
        _column("attacked", second, "prediction", 8, "count", f"{second} prediction"),
        _column("outcome", "outcome", "", 10, "text", "outcome"),
        _column("confidence_benign", "benign", "confidence", 6, "number", "benign confidence"),
        _column("confidence_attacked", second, "confidence", 10, "number", f"{second} confidence"),
        _column("psi_benign", "benign", of_layer, 6, "psi", f"benign {of_layer}"),
        _column("psi_attacked", second, of_layer, 8, "psi", f"{second} {of_layer}"),
        _column("shift", "shift", of_layer, 7, "shift", f"shift of {of_layer}"),
    ]
    for layer in index.layers:
        if layer != index.layer:
            heading = shortened(layer, _LONGEST_NAME)
            title = f"shift of PSI of {layer}"
            columns.append(_column(f"shift_{layer}", heading, "PSI shift", max(7, len(heading)), "shift", title))
    return {each.name: each for each in columns}


def _by_importance(index: ImageIndex, columns: Collection[str]) -> tuple[str, ...]:
    if index.is_alone:
        others = (f"psi_{layer}" for layer in index.layers if layer != index.layer)
        wanted = ("image", "benign", "psi_benign", "label", "outcome", "confidence_benign", *others)
        return tuple(name for name in wanted if name in columns)
    others = (f"shift_{layer}" for layer in index.layers if layer != index.layer)
    return (
        *("image", "attacked", "shift", "benign", "psi_attacked", "psi_benign", "label", "confidence_attacked"),
        *("outcome", *others, "confidence_benign"),
    )
