"""The detail pane of the explore screen: what is known of a model, a layer or a group of models."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from psi_tui.screens.explore.outline import (
    BUNDLED,
    NONNEGATIVE_KINDS,
    OWN,
    RELU_KINDS,
    Line,
    Outline,
    kind_glyph,
    kind_word,
)
from psi_tui.text.formatting import Row, format_count, format_shape
from psi_tui.text.models import LAYER_FACTS


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one thing.

    Attributes:
        title: its full name.
        pairs: name and value of every fact.
        sentences: what these mean, and what can be done.
    """

    title: str
    pairs: tuple[tuple[str, str], ...] = ()
    sentences: tuple[str, ...] = ()


def facts_of(outline: Outline, line: Line | None) -> Facts:
    """All that is known of a line, or what to do where there is none."""
    if line is None:
        return Facts("nothing fits the filter", sentences=("esc clears it, / changes it.", _LOADED_ONLY))
    if line.kind == "layer":
        assert line.row is not None, "a layer has its row"
        return _layer_facts(outline, line.model, line.row)
    if line.kind == "model":
        assert line.row is not None, "a model has its row"
        return _model_facts(outline, line.model, line.row)
    if line.kind == "group":
        return Facts(line.title, (("models", line.aside.partition(" ")[0]),) if line.aside else (), _group_words(line))
    if line.kind == "note":
        return Facts(line.model or "models", sentences=(line.title,))
    return Facts("your own model", sentences=_OWN_WORDS)


_LOADED_ONLY = "Layers are found once their model was opened; models are always found."

_OWN_WORDS = (
    "o takes a factory, a function without arguments that gives a torch module, and the size of its input in pixels: "
    "nets.py:wide 28. No size is needed where the module has an input_size.",
    "It is your code and is run on purpose, in a process of its own.",
)

_GROUP_WORDS = {
    BUNDLED: "AlexNet and VGG11 as Lee & Kim 2023 name their layers, and LeNet-5 likewise.",
    OWN: "o adds one.",
}


def copies_of(outline: Outline, line: Line | None) -> dict[str, str]:
    """What can be copied at a line: a title, and the text."""
    if line is None or not line.model:
        return {"command": "psi-tui models"}
    copies = {"command": shlex.join(["psi-tui", "layers", line.model, "--all"]), "name of the model": line.model}
    if line.kind == "layer":
        copies["name of the layer"] = line.title
    if marked := outline.marked(line.model):
        copies["names of the marked layers"] = ",".join(marked)
    if layers := outline.layers(line.model):
        copies["table of its layers"] = _as_text(layers)
    return copies


def _as_text(layers: Sequence[Row]) -> str:
    """Layers as lines with tabs between full numbers, for a spreadsheet."""
    names = tuple(column.name for column in LAYER_FACTS)
    cells = [[format_shape(row[name]) if name == "shape" else str(row[name]) for name in names] for row in layers]
    return "\n".join("\t".join(line) for line in (names, *cells))


def _group_words(line: Line) -> tuple[str, ...]:
    said = _GROUP_WORDS.get(line.title, "Layers are looked up when a model is opened.")
    return (said, f"enter {'closes' if line.is_open else 'opens'}, / filters by name or kind.")


def _model_facts(outline: Outline, name: str, row: Row) -> Facts:
    layers = outline.layers(name)
    tapped = [layer for layer in layers if outline.is_tapped(name, layer)]
    pairs = [
        ("input", None if row.get("size") is None else f"{row['size']} x {row['size']} pixels"),
        ("classes", _count(row.get("classes"))),
        ("layers", _count(len(layers) or None)),
        ("tapped", _count(len(tapped) if layers else row.get("layers"))),
        ("units tapped", _count(sum(layer["units"] for layer in tapped) or None)),
        ("parameters", _count(_total(layers, "parameters") or row.get("parameters"))),
        ("multiply-adds", _count(_total(layers, "multiply_adds") or row.get("multiply_adds"))),
    ]
    marked = len(outline.marked(name))
    words = f"A run taps the {marked} marked layers" if marked > 1 else "A run taps the marked layer"
    tapping = f"{words}; n starts one." if marked else "No layer is marked: a run taps every ReLU output; n starts one."
    if not layers:
        tapping = "enter looks up its layers; n starts a run with the usual ones."
    return Facts(name, tuple((title, value) for title, value in pairs if value is not None), (tapping,))


def _layer_facts(outline: Outline, model: str, row: Row) -> Facts:
    kind = row["kind"]
    texts = {
        "module": row["module"],
        "kind": f"{kind_glyph(kind)} {kind}, {kind_word(kind)}",
        "shape": format_shape(row["shape"]),
    }
    pairs = (
        *(
            (
                column.on_screen or column.heading,
                texts[column.name] if column.name in texts else format_count(row[column.name]),
            )
            for column in LAYER_FACTS[1:]
        ),
        ("in a run", _state(outline, model, row)),
    )
    return Facts(f"{row['name']} of {model}", pairs, (_why(row),))


def _state(outline: Outline, model: str, row: Row) -> str:
    if row["name"] in outline.marks.get(model, ()):
        return "● marked"
    if outline.is_tapped(model, row):
        return "○ tapped by default"
    return "not tapped"


def _why(row: Row) -> str:
    kind = row["kind"]
    if row.get("default"):
        return "Tapped by default, as every ReLU output is; marks take the place of the default."
    if kind.lower() in NONNEGATIVE_KINDS - RELU_KINDS:
        return f"Not tapped by default, since it is no ReLU. {kind} never responds below 0, so space can mark it."
    return (
        f"Not tapped by default: {kind} may respond below 0, where sparseness means nothing; "
        "where you mark it, set rectify to relu or abs."
    )


def _count(value: float | None) -> str | None:
    return None if value is None else format_count(value)


def _total(layers: tuple[Row, ...], name: str) -> int:
    return sum(layer[name] for layer in layers)


_COLUMN_WIDTH = 38
_NAME_WIDTH = 15


class FactsPanel(VerticalScroll):
    """Shows facts; scrolls where they do not fit.

    Args:
        id: of the widget.
    """

    DEFAULT_CSS = """
    FactsPanel {
        height: 1fr;
        padding: 0 1;
        background: $background;
        scrollbar-size-vertical: 1;
    }
    FactsPanel Static { height: auto; }
    FactsPanel .title { text-style: bold; }
    FactsPanel .sentences { color: $foreground 75%; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.facts = Facts("")

    def compose(self) -> ComposeResult:
        yield Static(markup=False, classes="title")
        yield Static(markup=False, classes="pairs")
        yield Static(markup=False, classes="sentences")

    def show(self, facts: Facts) -> None:
        """Shows other facts, where they are others."""
        if facts != self.facts:
            self.facts = facts
            self._draw()

    def on_resize(self) -> None:
        self._draw()

    def text(self) -> str:
        """The facts as plain text."""
        pairs = (f"{name}\t{value}" for name, value in self.facts.pairs)
        return "\n".join((self.facts.title, *pairs, *self.facts.sentences))

    def _draw(self) -> None:
        title, pairs, sentences = self.query(Static)
        title.update(self.facts.title)
        pairs.update(self._pairs())
        pairs.display = bool(self.facts.pairs)
        narrow = self.size.width < 2 * _COLUMN_WIDTH
        sentences.update(("\n\n" if narrow else "\n").join(self.facts.sentences))
        self.set_class(narrow, "-tall")

    def _pairs(self) -> Content:
        """Down the first column, then down the next."""
        columns = max(1, self.scrollable_content_region.width // _COLUMN_WIDTH)
        height = -(-len(self.facts.pairs) // columns)
        lines = []
        for place in range(height):
            parts: list[Content | tuple[str, str]] = []
            for name, value in self.facts.pairs[place::height]:
                cell = Content.assemble((name.ljust(_NAME_WIDTH), "$foreground 65%"), value)
                is_last = (name, value) == self.facts.pairs[place::height][-1]
                parts.append(cell if is_last else cell.pad_right(max(1, _COLUMN_WIDTH - cell.cell_length)))
            lines.append(Content.assemble(*parts))
        return Content("\n").join(lines)
