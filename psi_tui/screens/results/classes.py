"""Tab Classes: accuracy and PSI class by class, and PSI against recognition rate as the study draws it."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import DataTable, Static

from psi_core.columns import as_number
from psi_tui.figures import Role, Scatter, Series
from psi_tui.formatting import MISSING, Row, format_accuracies, format_cell
from psi_tui.screens.base import Pane
from psi_tui.screens.results.messages import ImagesWanted
from psi_tui.screens.results.view import ResultsTab, ResultsView
from psi_tui.table import ScreenColumn
from psi_tui.widgets.fitted_table import FittedTable
from psi_tui.widgets.plot import Plot


def _shift(row: Row) -> str:
    benign, attacked = row["benign"]["psi_mean"], row["attacked"]["psi_mean"]
    return MISSING if benign is None or attacked is None else format_cell(attacked - benign, "shift")


COLUMNS = (
    ScreenColumn("class", lambda row: str(row["benign"]["class_name"] or row["benign"]["label"]), 9, is_text=True),
    ScreenColumn("images", lambda row: format_cell(row["benign"]["images"], "count"), 3),
    ScreenColumn(
        "accuracy %",
        lambda row: format_accuracies(row["benign"]["accuracy_percent"], row["attacked"]["accuracy_percent"]),
        8,
    ),
    ScreenColumn("benign PSI", lambda row: format_cell(row["benign"]["psi_mean"], "psi"), 6),
    ScreenColumn("attacked PSI", lambda row: format_cell(row["attacked"]["psi_mean"], "psi"), 5),
    ScreenColumn("Δ", _shift, 7),
    ScreenColumn("PSI of mean", lambda row: format_cell(row["benign"]["psi_class_mean"], "psi"), 1),
    ScreenColumn("attacked mean", lambda row: format_cell(row["attacked"]["psi_class_mean"], "psi"), 1),
)


_NO_ACCURACY = "no accuracy: labels are the network's benign predictions"


class ScatterPane(Pane, can_focus=True):
    """The scatter; focused, `+` makes it large."""


class ClassTable(FittedTable):
    """Classes; enter shows the images of one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "its images")]


class ClassesTab(ResultsTab):
    """Table and scatter of the layer under the cursor."""

    TABLES: ClassVar[tuple[str, ...]] = ("classes",)
    SHOWS = frozenset({"condition", "layer"})
    FOCUS = "#class-table"

    def compose(self) -> ComposeResult:
        """Table, correlations, scatter."""
        with Vertical(id="class-numbers"):
            with Pane(id="class-table-pane"):
                yield ClassTable(COLUMNS, id="class-table")
                yield Static(id="class-waiting", markup=False, classes="empty")
            yield Static(id="class-note", markup=False)
        with ScatterPane(id="scatter-pane"):
            yield Plot(id="scatter")

    def show(self, view: ResultsView) -> None:
        """Table and scatter: a point a class."""
        benign, attacked = (
            [row for row in view.rows("classes", condition) if row["layer"] == view.choices.layer]
            for condition in (view.snapshot.run.conditions[0], view.choices.condition)
        )
        pairs = {str(b["label"]): {"benign": b, "attacked": a} for b, a in zip(benign, attacked, strict=True)}
        table = self.query_one(FittedTable)
        table.show_rows(pairs)
        table.display = bool(pairs)
        waiting = self.query_one("#class-waiting", Static)
        waiting.display = not pairs
        waiting.update(view.waiting)
        self.query_one(ScatterPane).border_title = f"PSI of {view.choices.layer} against recognition, a point a class"
        has_accuracy = view.snapshot.run.config.labels == "true"
        plot = self.query_one(Plot)
        plot.empty = view.waiting if not pairs or has_accuracy else _NO_ACCURACY
        series = (_series(benign, "benign"), _series(attacked, "attacked", view.choices.condition))
        plot.figure = Scatter(series, "mean PSI", "accuracy %") if pairs and has_accuracy else None
        note = _note(series) if has_accuracy else _NO_ACCURACY
        self.query_one("#class-note", Static).update(note if pairs else "")

    @on(DataTable.RowSelected)
    def _show_images(self, message: DataTable.RowSelected) -> None:
        message.stop()
        self.post_message(ImagesWanted(f"class={message.row_key.value}"))

    def copies(self, view: ResultsView) -> dict[str, str]:
        """The table."""
        table = self.query_one(FittedTable)
        command = f"psi-tui show {view.snapshot.run.id} --table classes"
        return {**({"this table": table.tab_separated()} if table.row_count else {}), "command that prints it": command}


def _series(rows: Sequence[Row], role: Role, name: str = "benign") -> Series:
    x, y = (tuple(as_number(row[key]) for row in rows) for key in ("psi_mean", "accuracy_percent"))
    return Series(name, x, y, role)


def _note(series: tuple[Series, ...]) -> str:
    """Pearson's r over classes, with their number: few prove little. One line, for that is all 24 lines have for it."""
    parts, counts = [], set()
    for each in series:
        x, y = np.array(each.x), np.array(each.y)
        kept = np.isfinite(x) & np.isfinite(y)
        if kept.sum() > 2 and x[kept].std() > 0 and y[kept].std() > 0:
            parts.append(f"{each.name} {np.corrcoef(x[kept], y[kept])[0, 1]:+.2f}")
            counts.add(int(kept.sum()))
    if not parts:
        return "no correlation: fewer than three classes, or all alike"
    few = "; |r| < 0.63 is n.s." if counts == {10} else ""
    return f"r over {max(counts)} classes: {', '.join(parts)}{few}"
