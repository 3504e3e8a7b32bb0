"""Tab Classes: accuracy and PSI class by class, by image or of class means, and PSI against recognition rate.

Texts and figures come from rows of tables; the first half of this page knows no widget.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from psi_core.conditions import BENIGN
from psi_core.plain_text import counted
from psi_core.tables.classes import CLASS_COLUMNS
from psi_core.tables.columns import Cell, as_number
from psi_tui.plots.figures import Role, Scatter, Series
from psi_tui.screens.base import Pane, PlotPane
from psi_tui.screens.results.tab import ImagesWanted, ResultsTab
from psi_tui.screens.results.view import ResultsView
from psi_tui.text.columns import ScreenColumn, both_sides, of_side, pick, screen_columns
from psi_tui.text.formatting import MISSING, Row, format_accuracies, format_cell, format_count
from psi_tui.widgets.fitted_table import FittedTable
from psi_tui.widgets.plot import Plot

NO_ACCURACY = "no accuracy: labels are the network's benign predictions"

_LIU = {column.name: column.on_screen for column in CLASS_COLUMNS if column.name.startswith("psi_liu")}
_MUTED = "$foreground 65%"
_NUMBER_CELLS = (6, 8, 7)


def class_scatter(benign: Sequence[Row], attacked: Sequence[Row], measure: str, condition: str) -> Scatter:
    """Sparseness against accuracy, a point a class.

    Args:
        benign: rows of the classes table, of one layer.
        attacked: likewise, under the condition.
        measure: column of sparseness.
        condition: name of the condition.
    """

    def series(rows: Sequence[Row], name: str, role: Role) -> Series:
        x, y = (tuple(as_number(row[key]) for row in rows) for key in (measure, "accuracy_percent"))
        return Series(name, x, y, role)

    title = "mean PSI" if measure == "psi_mean" else "PSI of the class's mean response"
    drawn = [series(benign, BENIGN, "benign")]
    if condition != BENIGN:
        drawn.append(series(attacked, condition, "attacked"))
    return Scatter(tuple(drawn), title, "accuracy %")


def correlation_words(benign: Row, attacked: Row | None = None, *, is_wide: bool) -> str:
    """Pearson's r of sparseness and accuracy over the classes, with p and n: in words, or in numbers on one line.

    Args:
        benign: row of the correlation table.
        attacked: likewise, under another condition; None where there is but benign.
        is_wide: whether there is room for words.
    """
    rows = (benign,) if attacked is None else (benign, attacked)
    attacked = rows[-1]
    is_without = benign["r"] is None and attacked["r"] is None
    if is_without and benign["verdict"] == attacked["verdict"]:
        return str(attacked["verdict"])
    if is_wide:
        return "\n".join(f"{row['condition']}: {row['verdict']}" for row in rows)
    if is_without:
        return f"{attacked['condition']}: {attacked['verdict']}"
    told = ", ".join(f"{row['condition']} {_r_and_p(row)}" for row in rows)
    return f"r over {max(int(row['classes']) for row in rows)} classes: {told}"


def class_level(benign: Sequence[Row], attacked: Sequence[Row], lifetimes: Sequence[Row], width: int) -> Content:
    """Means over classes of Liu's preset, and over channels of lifetime sparseness: benign, attacked, difference.

    Args:
        benign: rows of the classes table, of one layer.
        attacked: likewise, under the condition; none where there is but benign.
        lifetimes: the rows of the lifetime table, benign and attacked, or benign alone; none until they are there.
        width: of a line.
    """
    sides = (benign, attacked) if attacked else (benign,)
    lines = [_line("", ("benign", "attacked", "Δ") if attacked else ("benign",), (), width)]
    for name, title in _LIU.items():
        means = [_mean(rows, name) for rows in sides]
        numbers = [format_cell(mean, "psi") for mean in means]
        numbers += [format_cell(means[1] - means[0], "shift")] if attacked else []
        lines.append(_line(title, numbers, _liu_remarks(name, benign[0]), width))
    if lifetimes:
        before_row, after_row = lifetimes[0], lifetimes[-1]
        attacked_mean = after_row["lifetime_mean"] if len(lifetimes) > 1 else None
        numbers = [format_cell(before_row["lifetime_mean"], "psi")]
        if attacked:
            numbers += [format_cell(attacked_mean, "psi"), format_cell(after_row["delta_mean"], "shift")]
        lines.append(_line("lifetime", numbers, _lifetime_remarks(after_row), width))
    return Content("\n").join(lines)


def _mean(rows: Sequence[Row], name: str) -> float:
    """Over the classes that have a value; NaN where none has."""
    values = np.array([as_number(row[name]) for row in rows])
    return float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else float("nan")


def _liu_remarks(name: str, row: Row) -> tuple[str, ...]:
    if row["psi_liu"] is None and row["dead_channels"] is None:
        return ("needs 3 classes in finished chunks",)
    dead, all_channels, nearly_dead = (
        format_count(as_number(row[name])) for name in ("dead_channels", "channels", "nearly_dead_channels")
    )
    frozen: tuple[str, ...] = ("mean over classes, z-scores by benign", "mean over classes, z by benign")
    if row["nearly_dead_channels"]:
        without = f"without {nearly_dead} nearly dead"
        frozen = (f"{frozen[0]}, {without}", f"z by benign, {without}", without)
    return {
        "psi_liu": frozen,
        "psi_liu_live": (
            f"without the {dead} dead of {all_channels} channels",
            f"without {dead} dead of {all_channels}",
        ),
        "psi_liu_separate": (
            "z-scores by its own classes: a change must show here too",
            "z by its own: must show a change too",
        ),
    }[name]


def _lifetime_remarks(row: Row) -> tuple[str, ...]:
    if row["dead"] is None:
        return ("after the first finished chunk",)
    silent = f"{_of(row['dead'], row['channels'])} silent"
    if row["lifetime_mean"] is None:
        return (silent,) if row["dead"] == row["channels"] else ("sums of squares are not in this run",)
    live = format_count(as_number(row["channels"]) - as_number(row["dead"]))
    quartiles = f"quartiles {as_number(row['lifetime_q25']):.2f}..{as_number(row['lifetime_q75']):.2f}"
    return f"{live} live channels, {quartiles}", f"{live} channels, {quartiles}"


def _of(part: Cell, whole: Cell) -> str:
    return f"{format_count(as_number(part))} of {counted(round(as_number(whole)), 'channel')}"


def _line(title: str, numbers: Sequence[str], remarks: Sequence[str], width: int) -> Content:
    """A title, benign, attacked and difference as far as there are any, and the first remark there is room for."""
    text = "".join(f"  {number:>{cells}}" for number, cells in zip(numbers, _NUMBER_CELLS, strict=False))
    room = width - len(title.ljust(12)) - len(text) - 2
    remark = next((words for words in remarks if len(words) <= room), "")
    return Content.assemble((title.ljust(12), _MUTED), text, (f"  {remark}", _MUTED))


def _r_and_p(row: Row) -> str:
    """The p to two digits, which is all that a line has room for."""
    r, p = as_number(row["r"]), as_number(row["p_value"])
    return MISSING if row["r"] is None else f"{r:+.2f} (p {'< 0.0001' if p < 0.0001 else f'{p:.2g}'})"


def _shift(row: Row) -> str:
    benign, attacked = row["benign"]["psi_mean"], row["attacked"]["psi_mean"]
    return MISSING if benign is None or attacked is None else format_cell(attacked - benign, "shift")


def _columns() -> dict[str, ScreenColumn]:
    named = screen_columns(CLASS_COLUMNS, is_beside=True)
    psi, accuracy = named["psi_mean"], named["accuracy_percent"]
    return {
        **{name: both_sides(column) for name, column in named.items()},
        "class": ScreenColumn(
            named["class_name"].title,
            lambda row: str(row["benign"]["class_name"] or row["benign"]["label"]),
            is_text=True,
        ),
        "images": of_side("benign", named["images"]),
        "accuracy": ScreenColumn(
            accuracy.title, lambda row: format_accuracies(*(row[side]["accuracy_percent"] for side in _SIDES))
        ),
        "benign": of_side("benign", psi, f"benign {psi.title}"),
        "attacked": of_side("attacked", psi, f"attacked {psi.title}"),
        "shift": ScreenColumn("Δ", _shift),
    }


_SIDES = ("benign", "attacked")
_COLUMNS = _columns()

BY_IMAGE = pick(_COLUMNS, **{"class": 9}, images=3, accuracy=8, benign=6, attacked=5, shift=7, psi_class_mean=1)
"""Columns about the PSI of the class's images."""

OF_MEANS = pick(
    _COLUMNS, **{"class": 9}, images=1, accuracy=2, psi_class_mean=8, psi_liu=7, psi_liu_separate=6, psi_liu_live=5
)
"""Columns about the class's mean response."""


_NUMBERS_SHARE = 0.62
"""Of the height, what table and words have at most beside the scatter, as the style sheet gives it to them too."""


class ScatterPane(PlotPane):
    """The scatter; focused, `+` makes it large, left and right read values off."""


class ClassTable(FittedTable):
    """Classes; enter shows the images of one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "its images")]


class ClassesTab(ResultsTab):
    """Table and scatter of the layer under the cursor; `v` goes from PSI by image to class means.

    Where there is no room for all, what is told of class means as a whole takes the scatter's place.
    """

    TABLES: ClassVar[tuple[str, ...]] = ("classes", "correlation", "lifetime")
    SHOWS = frozenset({"condition", "layer"})
    FOCUS = "#class-table"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("v", "toggle_view", "class means")]

    def compose(self) -> ComposeResult:
        with Vertical(id="class-numbers"):
            with Pane(id="class-table-pane"):
                yield ClassTable(BY_IMAGE, id="class-table")
                yield Static(id="class-waiting", markup=False, classes="empty")
            yield Static(id="class-note", markup=False)
            with Pane(id="class-level-pane"):
                yield Static(id="class-level", markup=False)
        with ScatterPane(id="scatter-pane"):
            yield Plot(id="scatter")

    def on_mount(self) -> None:
        self._is_of_means = False
        self._view: ResultsView | None = None

    def on_resize(self) -> None:
        if self._view is not None:
            self.show(self._view)

    @property
    def _measure(self) -> str:
        """Column of sparseness that the scatter and the correlation are of."""
        return "psi_class_mean" if self._is_of_means else "psi_mean"

    @property
    def is_wide(self) -> bool:
        """Whether there is room for all at once."""
        return self.screen.has_class("-wide")

    def show(self, view: ResultsView) -> None:
        self._view = view
        benign = _of_layer(view, view.rows("classes", BENIGN))
        attacked = _of_layer(view, view.second_rows("classes"))
        pairs = {str(pair["benign"]["label"]): pair for pair in view.pairs(benign, attacked)}
        table = self.query_one(FittedTable)
        table.show_rows(pairs)
        table.display = bool(pairs)
        waiting = self.query_one("#class-waiting", Static)
        waiting.display = not pairs
        waiting.update(view.waiting)
        self._show_scatter(view, benign, attacked)
        self._show_words(view, benign, attacked)

    def _show_scatter(self, view: ResultsView, benign: list[Row], attacked: list[Row]) -> None:
        pane, plot = self.query_one(ScatterPane), self.query_one(Plot)
        pane.display = self.is_wide or not self._is_of_means or not benign
        layer = view.choices.layer
        by_image = f"PSI of {layer} against recognition, a point a class"
        pane.border_title = f"class-mean PSI of {layer} against recognition" if self._is_of_means else by_image
        has_accuracy = view.snapshot.run.config.labels == "true"
        plot.empty = view.waiting if not benign or has_accuracy else NO_ACCURACY
        plot.about = replace(view.subject(), measure=self._measure)
        scatter = class_scatter(benign, attacked, self._measure, view.choices.condition)
        plot.figure = replace(scatter, subject=plot.about) if benign and has_accuracy else None

    def _show_words(self, view: ResultsView, benign: list[Row], attacked: list[Row]) -> None:
        """What is told below the table; many classes must not push it out of sight."""
        width = max(20, self.query_one("#class-numbers").size.width - 2)
        correlation = self._correlation(view)
        self.query_one("#class-note", Static).update(correlation)
        lines = sum(len(textwrap.wrap(line, width)) for line in correlation.splitlines())
        pane = self.query_one("#class-level-pane", Pane)
        pane.display = bool(benign) and (self.is_wide or self._is_of_means)
        if pane.display:
            under = "" if view.condition.is_benign else f" under {view.choices.condition}"
            pane.border_title = f"class means and channels of {view.choices.layer}{under}"
            second = [] if view.condition.is_benign else attacked
            told = class_level(benign, second, _both_sides(view, "lifetime"), width)
            self.query_one("#class-level", Static).update(told)
            lines += 1 + len(told.plain.splitlines())
        share = 1.0 if self.is_wide or self._is_of_means else _NUMBERS_SHARE
        self.query_one("#class-table-pane").styles.max_height = max(3, int(self.size.height * share) - lines)

    def _correlation(self, view: ResultsView) -> str:
        rows = [row for row in _both_sides(view, "correlation") if row["measure"] == self._measure]
        return correlation_words(*rows, is_wide=self.is_wide) if rows else ""

    def action_toggle_view(self) -> None:
        self._is_of_means = not self._is_of_means
        self.set_class(self._is_of_means, "-of-means")
        self.query_one(FittedTable).show_columns(OF_MEANS if self._is_of_means else BY_IMAGE)
        if self._view is not None:
            self.show(self._view)

    @on(FittedTable.Selected)
    def _show_images(self, message: FittedTable.Selected[str]) -> None:
        message.stop()
        self.post_message(ImagesWanted(f"class={message.key}"))

    def copies(self, view: ResultsView) -> dict[str, str]:
        table, run = self.query_one(FittedTable), view.snapshot.run.id
        return {
            **({"this table": table.tab_separated()} if table.row_count else {}),
            "command that prints it": f"psi-tui show {run} --table classes",
            "command that prints the correlations": f"psi-tui show {run} --table correlation",
            "command that prints lifetime sparseness": f"psi-tui show {run} --table lifetime",
        }


def _both_sides(view: ResultsView, table: str) -> list[Row]:
    """Rows of the chosen layer, benign first; none until they are there."""
    conditions = dict.fromkeys((BENIGN, view.choices.condition))
    return [row for condition in conditions for row in _of_layer(view, view.rows(table, condition))]


def _of_layer(view: ResultsView, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["layer"] == view.choices.layer]
