"""The outline of models and their layers: what is known, open and marked, and which lines a filter leaves.

Kinds of layers, each with its glyph and word, and a model of the user's own as it is typed are here too.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from psi_core.config import MODEL_NAMES
from psi_tui.text.columns import ScreenColumn, pick
from psi_tui.text.formatting import MISSING, Row, format_count
from psi_tui.text.models import layer_fact_columns

_KINDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("conv",), "■", "convolution"),
    (("linear",), "×", "matrix"),  # noqa: RUF001
    (("pool",), "▼", "pooling"),
    (("norm",), "≈", "normalization"),
    (("drop", "depth"), "░", "dropout"),
    (("relu", "elu", "swish", "mish", "sigmoid", "tanh", "softmax", "softplus", "silu"), "╱", "activation"),  # noqa: RUF001
)
"""Parts of a kind's name, its glyph, its word; the first that fits counts."""

_OTHER = ("·", "other")

RELU_KINDS = frozenset({"relu", "relu6", "clamp", "threshold", "maximum"})
"""Kinds that a run taps unless told otherwise; the engine's RELUS holds the same."""

NONNEGATIVE_KINDS = RELU_KINDS | {"sigmoid", "hardsigmoid", "softmax", "softplus"}
"""Kinds whose responses pass without `rectify`."""


def kind_glyph(kind: str) -> str:
    """One character for a kind such as `Conv2d` or `relu`."""
    return _glyph_and_word(kind)[0]


def kind_word(kind: str) -> str:
    """What a kind is, in a word."""
    return _glyph_and_word(kind)[1]


def _glyph_and_word(kind: str) -> tuple[str, str]:
    lowered = kind.lower()
    return next(((glyph, word) for parts, glyph, word in _KINDS if any(part in lowered for part in parts)), _OTHER)


def model_and_size(text: str) -> tuple[str, str]:
    """A model and the number that follows it: `nets.py:wide 28`; the size is empty where there is none."""
    model, _, size = text.strip().rpartition(" ")
    return (model.strip(), size) if size.isdecimal() and model else (text.strip(), "")


BUNDLED, OWN = "bundled", "your own"
CATALOG = ""
"""Stands for the list of models where a model's name is wanted: what is asked, or could not be answered."""

_OWN_INVITATION = "o takes file.py:factory or package.module:factory"

LineKind: TypeAlias = Literal["group", "model", "layer", "note", "invitation"]

COLUMNS = (
    ScreenColumn("model, layer", lambda row: row["name"], 9, is_text=True),
    *pick(layer_fact_columns(is_beside=True), kind=3, shape=7, units=8, parameters=5, multiply_adds=4),
)
"""Columns of a line; the first holds the outline itself."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the outline.

    Attributes:
        kind: what it stands for; a note says what a model's layers, or the list of models, wait for or failed at.
        depth: how far it is indented.
        title: its words.
        model: name of its model; `CATALOG` where it belongs to none.
        row: the engine's row of a model or layer.
        cells: of `COLUMNS`, the first left empty.
        is_open: whether what lies below is shown.
        aside: what is said after the title.
        fits: whether it holds the filter's words itself, and is not only there for what lies below.
    """

    kind: LineKind
    depth: int
    title: str
    model: str = CATALOG
    row: Row | None = None
    cells: tuple[str, ...] = ()
    is_open: bool = False
    aside: str = ""
    fits: bool = True

    @property
    def key(self) -> tuple[LineKind, str, str]:
        """The same for a line that stands for the same thing."""
        return self.kind, self.model, self.title if self.kind in ("group", "layer") else ""


@dataclass(slots=True)
class _Group:
    title: str
    depth: int
    models: list[Row] = field(default_factory=list)
    groups: "list[_Group]" = field(default_factory=list)

    def count(self) -> int:
        return len(self.models) + sum(group.count() for group in self.groups)


class Outline:
    """Everything that the tree of models shows. Holds no widget and asks nobody.

    Attributes:
        notes: by model, the sentence in the place of its layers; `CATALOG` for the list of models.
        marks: by model, names of the layers marked for a run.
    """

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}
        self.marks: dict[str, set[str]] = {}
        self._layers: dict[str, tuple[Row, ...]] = {}
        self._open: set[str] = {BUNDLED, OWN}
        self._own: list[str] = []
        self._rows: list[Row] = [{"name": name, "family": BUNDLED} for name in MODEL_NAMES]
        self._groups: list[_Group] = []
        self._searched: dict[str, tuple[tuple[str, Line], ...]] = {}
        self.widest: list[str] = []
        self._arrange()

    def show_models(self, rows: Sequence[Row]) -> None:
        """Puts the engine's list in the place of the present one; the user's own models stay."""
        self._rows = list(rows)
        self._arrange()

    def add_own(self, model: str) -> None:
        if model not in self._own and not self.has_model(model):
            self._own.append(model)
            self._arrange()

    def show_layers(self, model: str, rows: Sequence[Row]) -> None:
        """Keeps the layers of a model, in forward order."""
        self._layers[model] = tuple(rows)
        self.notes.pop(model, None)
        self._search(model)
        self._measure()

    def has_model(self, model: str) -> bool:
        return any(row["name"] == model for row in (*self._rows, *self._own_rows()))

    def layers(self, model: str) -> tuple[Row, ...]:
        """Rows of its layers as far as they were loaded."""
        return self._layers.get(model, ())

    def marked(self, model: str) -> list[str]:
        """Names of its marked layers in forward order."""
        marks = self.marks.get(model, ())
        return [row["name"] for row in self.layers(model) if row["name"] in marks]

    def is_tapped(self, model: str, row: Row) -> bool:
        """Whether a run started now would tap a layer: a marked one, or a usual one where none is marked."""
        marks = self.marks.get(model)
        return row["name"] in marks if marks else bool(row.get("default"))

    def mark(self, model: str, names: Iterable[str], is_marked: bool) -> None:
        marks = self.marks.setdefault(model, set())
        if is_marked:
            marks.update(names)
        else:
            marks.difference_update(names)

    def open(self, line: Line, is_open: bool = True) -> None:
        """Shows what lies below a group or a model, or hides it."""
        name = _open_name(line.kind, line.title, line.model)
        if is_open:
            self._open.add(name)
        else:
            self._open.discard(name)

    def open_model(self, model: str) -> None:
        """Shows the layers of a model, and the groups above it."""
        self._open.add(f"model {model}")

        def descend(group: _Group) -> bool:
            holds = any(row["name"] == model for row in group.models)
            holds = any([holds, *(descend(below) for below in group.groups)])
            if holds:
                self._open.add(group.title)
            return holds

        for group in self._groups:
            descend(group)

    def lines(self, text: str = "") -> list[Line]:
        """The lines to show.

        Args:
            text: words that a line must hold all, in any case: of a model's name and family, or of a loaded layer's
                name, module, kind and model. Whatever fits is shown, whether or not it was open.
        """
        words = text.lower().split()
        lines = [line for group in self._groups for line in self._group_lines(group, words)]
        if note := self.notes.get(CATALOG):
            lines.append(Line("note", 0, note))
        return lines

    def _group_lines(self, group: _Group, words: list[str]) -> Iterator[Line]:
        is_open = bool(words) or group.title in self._open
        below = [line for inner in group.groups for line in self._group_lines(inner, words)] if is_open else []
        if is_open:
            for row in group.models:
                below += self._model_lines(row, group, words)
        if words and not below:
            return
        count = group.count()
        aside = f"{format_count(count)} models" if count != 1 else "1 model"
        aside = "" if group.title == OWN else aside
        yield Line("group", group.depth, group.title, is_open=is_open, aside=aside, fits=not words)
        yield from below
        if group.title == OWN and is_open and not words:
            yield Line("invitation", group.depth + 1, _OWN_INVITATION)

    def _model_lines(self, row: Row, group: _Group, words: list[str]) -> Iterator[Line]:
        name, depth = row["name"], group.depth + 1
        own_text = f"{name} {group.title} {row['family']}".lower()
        is_whole = all(word in own_text for word in words)
        is_open = f"model {name}" in self._open
        searched = self._searched.get(name, ())
        if is_whole:
            found = [line for _, line in searched] if is_open else []
        else:
            found = [line for text, line in searched if all(word in text for word in words)]
            if not found:
                return
            is_open = True
        yield Line("model", depth, _short(name), name, row, _cells(row), is_open, self._aside(row), is_whole)
        if is_open and (note := self.notes.get(name)):
            yield Line("note", depth + 1, note, name)
        yield from found

    def _aside(self, row: Row) -> str:
        marked = len(self.marks.get(row["name"], ()))
        if marked:
            return f"● {marked} marked"
        if layers := self.layers(row["name"]):
            return f"taps {sum(bool(layer.get('default')) for layer in layers)} of {len(layers)}"
        return "" if row.get("layers") is None else f"taps {row['layers']}"

    def _own_rows(self) -> list[Row]:
        return [{"name": name, "family": OWN} for name in self._own]

    def _arrange(self) -> None:
        """Groups the models: bundled ones, then a group per source and family, then the user's own."""
        sources: dict[str, dict[str, list[Row]]] = {BUNDLED: {}}
        for row in self._rows:
            source, colon, _ = row["name"].partition(":")
            families = sources.setdefault(source if colon else BUNDLED, {})
            families.setdefault(row["family"], []).append(row)
        self._groups = [_source_group(source, families) for source, families in sources.items()]
        self._groups.append(_Group(OWN, 0, self._own_rows()))
        for model in self._layers:
            self._search(model)
        self._measure()

    def _search(self, model: str) -> None:
        """Makes the lines of a model's layers, each with the text that a filter looks into."""
        depth = self._depth_of(model)
        self._searched[model] = tuple(
            (
                f"{model} {row['name']} {row['module']} {row['kind']} {kind_word(row['kind'])}".lower(),
                Line("layer", depth + 1, row["name"], model, row, _cells(row)),
            )
            for row in self._layers[model]
        )

    def _depth_of(self, model: str) -> int:
        def depths(groups: Iterable[_Group]) -> Iterator[int]:
            for group in groups:
                yield from (group.depth + 1 for row in group.models if row["name"] == model)
                yield from depths(group.groups)

        return next(depths(self._groups), 1)

    def _measure(self) -> None:
        """Finds the longest text of every column, so that columns stand still while a filter is typed."""
        lines = [line for searched in self._searched.values() for _, line in searched]
        rows = [line.cells for line in lines] + [_cells(row) for row in self._rows]
        names = [f"{'  ' * line.depth}    {line.title}" for line in lines]
        longest_name = max([*names, "    alexnet  taps 7 of 21"], key=len)
        others = [max((cells[place] for cells in rows), key=len, default="") for place in range(1, len(COLUMNS))]
        self.widest = [longest_name, *others]


def _source_group(source: str, families: dict[str, list[Row]]) -> _Group:
    """The models of one source, a group below for each family of several."""
    group = _Group(source, 0)
    for family, rows in families.items():
        if len(rows) > 1 and family != source:
            group.groups.append(_Group(family, 1, rows))
        else:
            group.models += rows
    return group


def _open_name(kind: LineKind, title: str, model: str) -> str:
    return title if kind == "group" else f"model {model}"


def _short(name: str) -> str:
    """A model's name below its source: `resnet18`; a factory keeps its own."""
    return re.sub(r"^(torchvision|timm|robustbench):", "", name)


def _cells(row: Row) -> tuple[str, ...]:
    """Texts of the columns; nothing where a model does not have the fact, or there are none."""
    texts = (column.cell(row) for column in COLUMNS[1:])
    return ("", *("" if text in (MISSING, "0") else text for text in texts))
