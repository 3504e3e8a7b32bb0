"""Tab Layers: benign against attacked in every layer, and the histogram of the one under the cursor."""

import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static, Tree
from textual.widgets.tree import TreeNode

from psi_core.conditions import Epsilon, epsilon_in_levels
from psi_core.measures import MEASURES
from psi_core.plain_text import counted
from psi_core.runs.loading import LayerInfo
from psi_core.statistics.histograms import TABLE_BINS
from psi_core.tables.columns import as_number
from psi_core.tables.layers import layer_columns
from psi_tui.plots.figures import MirroredHistogram
from psi_tui.plots.histogram import NAMED_HEIGHT
from psi_tui.plots.layer_histogram import layer_histogram
from psi_tui.screens.base import Pane, PlotPane, PsiScreen
from psi_tui.screens.results.tab import LayerChosen, LayerRowsTab, TabResized
from psi_tui.screens.results.view import READINGS, Reading, ResultsView
from psi_tui.text.columns import (
    ScreenColumn,
    both_sides,
    elided,
    limits,
    mean_and_sd,
    of_side,
    pick,
    screen_columns,
    without_zeros,
)
from psi_tui.text.formatting import (
    MISSING,
    Row,
    beyond_cell,
    format_accuracies,
    format_cell,
    format_count,
    format_shape,
)
from psi_tui.widgets.fitted_table import FittedTable
from psi_tui.widgets.plot import Plot
from psi_tui.widgets.prompt_line import PromptLine

_TREE_WIDTH, _TREE_STEP = 23, 2
"""Cells of a line of the tree, and of them what goes before a name for every branch that it lies in."""

_TABLE_SHARE = {True: 0.55, False: 0.62}
"""Of the height, what the table and its words have at most, by whether the screen is wide: the plots need the rest."""

_WORD_LINES = 5
"""Lines of a verdict and of what is said of the peaks, at most."""

_PEAKS: dict[Reading, tuple[str, str]] = {
    "L": ("peak_center", "peak L"),
    "H": ("peak_percent", "peak H %"),
    "A": ("peak_accuracy_percent", "peak A %"),
}
"""Column of each reading, and what it is called beside the others."""


def columns(reading: Reading, measure: str) -> tuple[ScreenColumn, ...]:
    """Columns of the table of one measure under one reading of the peaks; with room, the others stand beside it."""
    measured = MEASURES[measure].heading
    named = screen_columns(layer_columns(measure))
    peaks = {
        name: both_sides(named[name], title, missing=f"{MISSING} → {MISSING}" if letter == reading else MISSING)
        for letter, (name, title) in _PEAKS.items()
    }
    spread = mean_and_sd(f"{measured} ± sd", measure)
    attacked = {name: of_side("attacked", column) for name, column in named.items()}
    shown = {
        **attacked,
        **peaks,
        "benign": of_side("benign", spread, f"benign {spread.title}"),
        "attacked": of_side("attacked", spread, f"attacked {spread.title}"),
        "delta_mean": of_side("attacked", named["delta_mean"], f"Δ {measured}"),
        "delta_limits": of_side("attacked", limits("95 % CI of Δ", named, "delta")),
        "delta_control_mean": of_side("attacked", named["delta_control_mean"], "Δ-control"),
        "delta_sd": ScreenColumn("beyond, sd", lambda row: beyond_cell(row["attacked"])),
        "p_noise_holm": of_side("attacked", named["p_noise_holm"], "p noise"),
        "silent": without_zeros(attacked["silent"]),
    }
    return pick(
        shown,
        layer=10,
        **{name: 5 if letter == reading else 1 for letter, (name, _) in _PEAKS.items()},
        benign=3,
        attacked=2,
        delta_mean=8,
        delta_limits=3,
        p_holm=1,
        delta_control_mean=6,
        delta_sd=9,
        p_noise_holm=4,
        auroc=7,
        silent=8,
    )


def _condition_line(view: ResultsView, width: int) -> str:
    """What is compared, and what it did to the images and their recognition, as far as one line has room."""
    condition, benign = view.condition, view.rows("conditions", view.snapshot.run.conditions[0])
    attacked = view.rows("conditions", view.choices.condition)
    subset = _subset_words(view)
    has_levels = condition.has_epsilon and not isinstance(condition.epsilon, Epsilon)
    levels = f" ({epsilon_in_levels(condition.epsilon)})" if has_levels else ""
    text = f"{condition.name}{levels} against benign{subset}" if not condition.is_benign else f"benign alone{subset}"
    if not (benign and attacked):
        return text
    accuracies = [as_number(row[0]["accuracy_percent"]) for row in (benign, attacked)]
    accuracy = format_accuracies(accuracies[0], None if condition.is_benign else accuracies[1])
    facts = [f"accuracy {accuracy} %"] if accuracy != MISSING else []
    if condition.is_benign:
        return "   ".join([text, *facts])
    facts.append(f"fooled {format_cell(attacked[0]['success_percent'], 'percent')} %")
    facts.append(f"L∞ {format_cell(attacked[0]['linf_mean'], 'number')}")
    facts.append(f"L2 {format_cell(attacked[0]['l2_mean'], 'number')}")
    for fact in facts:
        if len(text) + 3 + len(fact) <= width:
            text += f"   {fact}"
    return text


def _subset_words(view: ResultsView) -> str:
    """The subset and how many images it has: a large effect in two images is none."""
    subset = view.choices.subset
    rows = view.rows("layers", view.choices.condition)
    if subset == "all" or not rows:
        return view.subset_words
    return f", {format_count(as_number(rows[0]['images']))} {subset} only"


@dataclass(frozen=True, slots=True)
class _Picture:
    """A histogram and what stands above it, as far as there is room."""

    figure: MirroredHistogram
    title: str
    sides: str
    shifts: str
    bins: str


def _caption(picture: _Picture, width: int, *, has_names: bool) -> str:
    """What the histogram is of, and what else there is room for.

    Args:
        picture: the histogram.
        width: of the pane.
        has_names: whether the histogram says itself what is above and what below.
    """
    most = [picture.title, *([] if has_names else [picture.sides]), picture.shifts, picture.bins]
    fewer = [word for word in most if word != picture.shifts]
    for words in (most, fewer, [picture.title, picture.bins]):
        if len("   ".join(words)) + 4 <= width:
            return "   ".join(words)
    return picture.title


class HistogramPane(PlotPane):
    """The histogram; focused, `+` makes it large, left and right read values off."""

    def on_resize(self) -> None:
        self.post_message(TabResized())  # How much its title says depends on its width.


def _shared(names: Sequence[tuple[str, ...]]) -> int:
    """How many words all names begin with; each keeps its last one."""
    least = min(map(len, names)) - 1
    return next((place for place in range(least) if len({each[place] for each in names}) > 1), least)


def _grow(
    branch: TreeNode[str], layers: Sequence[tuple[tuple[str, ...], LayerInfo]], indent: int
) -> dict[str, TreeNode[str]]:
    """Adds layers to a branch, those that begin alike under a branch of their own; gives the leaf of each by its name.

    Args:
        branch: of the tree.
        layers: the rest of the name of each, by its dots, in forward order.
        indent: cells before a leaf's text.
    """
    leaves: dict[str, TreeNode[str]] = {}
    room = _TREE_WIDTH - indent
    for _, alike in groupby(layers, key=lambda each: each[0][0]):
        group = list(alike)
        inside = [each for each in group if len(each[0]) > 1]
        if len(inside) > 1:
            shared = _shared([names for names, _ in inside])
            inner = branch.add(Text(elided(".".join(inside[0][0][:shared]), room - _TREE_STEP)))
            leaves |= _grow(inner, [(names[shared:], layer) for names, layer in inside], indent + _TREE_STEP)
            group = [each for each in group if each not in inside]
        for names, layer in group:
            name, shape = ".".join(names), format_shape(layer.shape)
            whole = f"{name:<6} {shape}"
            text = whole if cell_len(whole) <= room else elided(name, room)  # A shape that is cut would be another one.
            leaves[layer.name] = branch.add_leaf(Text(text), data=layer.name)
    return leaves


class LayerTable(FittedTable):
    """Layers; enter makes the histogram large."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "enlarge")]


class LayersTab(LayerRowsTab):
    """Table, verdict, histogram; from 140 columns a tree of the layers too."""

    TABLES: ClassVar[tuple[str, ...]] = ("layers", "conditions")
    SHOWS = frozenset({"condition", "layer", "subset", "measure", "bins", "reading"})
    FOCUS = "#layer-table"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "clear_filter", "clear the filter", show=False)]

    def compose(self) -> ComposeResult:
        tree: Tree[str] = Tree("layers", id="layer-tree")
        tree.show_root = True
        tree.guide_depth = 2
        yield tree
        with Vertical(id="layer-numbers"):
            yield Static(id="condition-line", markup=False)
            yield PromptLine("/", "layers that hold all these words", leave_to="#layer-table", id="layer-filter")
            with Pane(id="layer-table-pane"):
                yield LayerTable(columns("L", "psi"), id="layer-table")
                yield Static(id="layer-waiting", markup=False, classes="empty")
            yield Static(id="verdict", markup=False)
            with PlotPane(id="layer-profile-pane"):
                yield Plot(id="layer-profile")
        with HistogramPane(id="histogram-pane"):
            yield Plot(id="histogram")

    def on_mount(self) -> None:
        self._columns: tuple[Reading, str] = ("L", "psi")
        self._listed: tuple[object, ...] = ()
        self._leaves: dict[str, TreeNode[str]] = {}
        self._view: ResultsView | None = None
        self._picture: _Picture | None = None

    def show(self, view: ResultsView) -> None:
        self._view = view
        self._show_tree(view)
        table = self.query_one(FittedTable)
        chosen = view.choices.reading, view.choices.measure
        benign = view.rows("layers", view.snapshot.run.conditions[0])
        attacked = view.second_rows("layers")
        pairs = {str(pair["benign"]["layer"]): pair for pair in view.pairs(benign, attacked)}
        every = len(pairs)
        words = self.query_one(PromptLine).text.lower().split()
        pairs = {name: pair for name, pair in pairs.items() if all(word in name.lower() for word in words)}
        self.query_one(PromptLine).note(f"{len(pairs)} of {counted(every, 'layer')}")
        with self.prevent(FittedTable.Highlighted):
            if chosen != self._columns:
                if chosen[1] != self._columns[1]:
                    table.show_rows({})  # They hold no such measure.
                self._columns = chosen
                table.show_columns(columns(*chosen))
            table.show_rows(pairs)
            table.select_key(view.choices.layer)
        self._choose_in_sight(pairs)
        self.query_one("#layer-profile-pane", Pane).border_title = view.profile_title
        profile, histogram = self.query_one("#layer-profile", Plot), self.query_one("#histogram", Plot)
        profile.about = view.subject(layer="")
        profile.figure = view.profile
        if histogram.about != view.subject():
            histogram.about, histogram.empty = view.subject(), ""
            self.query_one(HistogramPane).border_title = f"{view.measured} of {view.choices.layer}"
        elif self._picture is not None and histogram.figure == self._picture.figure:
            self._show_caption()  # There may be more room than when it was drawn.
        self.shown_layer = view.choices.layer
        table.display = bool(pairs)
        waiting = self.query_one("#layer-waiting", Static)
        waiting.display = not pairs
        waiting.update("no layer fits; / changes the filter, esc clears it" if every else view.waiting)
        self._show_words(view, attacked)

    def open_filter(self) -> None:
        self.query_one(PromptLine).open()

    def _choose_in_sight(self, shown: Collection[str]) -> None:
        """Where the filter hides the chosen layer, the one under the cursor is chosen."""
        current = self.query_one(FittedTable).current
        if current is not None and self._view is not None and self._view.choices.layer not in shown:
            self.post_message(LayerChosen(current))

    @on(PromptLine.Changed)
    def _filter_typed(self, message: PromptLine.Changed) -> None:
        message.stop()
        if self._view is not None:
            self.show(self._view)

    @on(PromptLine.Submitted)
    def _filter_done(self, message: PromptLine.Submitted) -> None:
        message.stop()
        if not message.text:
            self.query_one(PromptLine).close()

    def action_clear_filter(self) -> None:
        """Clears the filter; where there is none, goes back."""
        line = self.query_one(PromptLine)
        if line.is_open:
            line.close()
        elif isinstance(self.screen, PsiScreen):
            self.screen.action_back()

    def compute(self, view: ResultsView) -> object:
        choices = view.choices
        if not view.snapshot.has_results:
            return None
        histogram = layer_histogram(
            view.snapshot.run,
            choices.layer,
            measure=choices.measure,
            condition=choices.condition,
            bins=choices.bins,
            subset=choices.subset,
            whole_range=choices.bins == TABLE_BINS,
        )
        outside = f", {format_count(histogram.outside)} outside" if histogram.outside else ""
        bins = f"{len(histogram.edges) - 1} bins{outside}"
        sides = view.sides
        figure = replace(histogram.figure, subject=view.subject())
        return _Picture(figure, histogram.title, sides, histogram.shifts, bins)

    def show_computed(self, view: ResultsView, computed: object) -> None:
        pane, plot = self.query_one(HistogramPane), self.query_one("#histogram", Plot)
        plot.empty = view.waiting
        self._picture = computed if isinstance(computed, _Picture) else None
        if self._picture is not None:
            self._show_caption()
            plot.figure = self._picture.figure
        else:
            pane.border_title = f"{view.measured} of {view.choices.layer}"
            plot.figure = None

    def _show_caption(self) -> None:
        assert self._picture is not None, "asked only where there is one"
        pane, plot = self.query_one(HistogramPane), self.query_one("#histogram", Plot)
        pane.border_title = _caption(self._picture, pane.size.width, has_names=plot.size.height >= NAMED_HEIGHT)

    def copies(self, view: ResultsView) -> dict[str, str]:
        rows = view.rows("layers", view.choices.condition)
        verdicts = "\n".join(f"{row['layer']}\t{row['verdict']}" for row in rows)
        choices = view.choices
        command = f"psi-tui show {view.snapshot.run.id} --plot {choices.layer} --condition {choices.condition}"
        command += "" if choices.measure == "psi" else f" --measure {choices.measure}"
        table = {"this table": self.query_one(FittedTable).tab_separated()} if rows else {}
        return {**table, **({"verdicts": verdicts} if rows else {}), "command that prints this histogram": command}

    def _show_tree(self, view: ResultsView) -> None:
        run = view.snapshot.run
        tree: Tree[str] = self.query_one("#layer-tree", Tree)
        listed = (run.config.model, *((layer.name, layer.shape) for layer in run.layer_infos))
        if self._listed != listed:
            self._listed = listed
            tree.clear()
            tree.root.set_label(Text(elided(run.config.model, _TREE_WIDTH - _TREE_STEP), style="bold"))
            parts = [(tuple(layer.name.split(".")), layer) for layer in run.layer_infos]
            shared = _shared([names for names, _ in parts])
            self._leaves = _grow(tree.root, [(names[shared:], layer) for names, layer in parts], _TREE_STEP)
            tree.root.expand_all()
        node = self._leaves.get(view.choices.layer)
        if node is not None and tree.cursor_node is not node:
            while node.parent is not None:
                node.parent.expand()
                node = node.parent
            with self.prevent(Tree.NodeHighlighted):
                tree.move_cursor(self._leaves[view.choices.layer])

    def _show_words(self, view: ResultsView, attacked: Sequence[Row]) -> None:
        line = self.query_one("#condition-line", Static)
        line.update(_condition_line(view, line.size.width), layout=False)
        row = next((row for row in attacked if row["layer"] == view.choices.layer), None)
        verdict = f"{row['layer']}: {row['verdict']}" if row is not None and row["verdict"] else ""
        reading = view.choices.reading
        if reading != "L":
            verdict = f"{verdict}\npeak {reading}: {READINGS[reading]}"
        self.query_one("#verdict", Static).update(verdict)
        lines = sum(len(textwrap.wrap(part, max(20, line.size.width))) for part in verdict.splitlines())
        share = _TABLE_SHARE[self.screen.has_class("-wide")]
        room = int(self.size.height * share) - min(_WORD_LINES, lines) - 1
        self.query_one("#layer-table-pane").styles.max_height = max(3, room)

    @on(FittedTable.Selected)
    def _make_large(self, message: FittedTable.Selected[str]) -> None:
        message.stop()
        if isinstance(self.screen, PsiScreen):
            self.screen.enlarge(self.query_one(HistogramPane))

    @on(Tree.NodeHighlighted)
    def _node_chosen(self, message: Tree.NodeHighlighted[str]) -> None:
        message.stop()
        node: TreeNode[str] = message.node
        if node.data is not None and node.data != self.shown_layer:
            self.post_message(LayerChosen(node.data))
