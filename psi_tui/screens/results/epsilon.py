"""Tab Epsilon: accuracy, and the PSI shift of the layer under the cursor, against epsilon, with the controls.

Where the labels are the network's own predictions, the share fooled stands in the place of the accuracy.
"""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.widgets import Static

from psi_core.columns import Row, as_number
from psi_core.conditions import BENIGN
from psi_core.runs import Run
from psi_tui.figures import Curves, Role, Series
from psi_tui.screens.base import Pane
from psi_tui.screens.results.view import ResultsTab, ResultsView
from psi_tui.widgets.plot import Plot


class CurvePane(Pane, can_focus=True):
    """One plot of curves; focused, `+` makes it large."""


class EpsilonTab(ResultsTab):
    """Two plots of curves, a curve an attack or control."""

    TABLES: ClassVar[tuple[str, ...]] = ("layers", "conditions")
    SHOWS = frozenset({"layer"})
    FOCUS = "#accuracy-pane"

    def compose(self) -> ComposeResult:
        """Accuracy and shift."""
        yield Static(id="epsilon-note", markup=False)
        with CurvePane(id="accuracy-pane"):
            yield Plot(id="accuracy-curves")
        with CurvePane(id="shift-pane"):
            yield Plot(id="shift-curves")

    def show(self, view: ResultsView) -> None:
        """The curves, as soon as the statistics are there."""
        run, layer = view.snapshot.run, view.choices.layer
        epsilons = sorted({condition.epsilon for condition in run.condition_details if not condition.is_given})
        note = f"{len(epsilons) - 1} epsilons and 0"
        if len(epsilons) < 2:
            note = "Images attacked elsewhere have no epsilon, so there are no curves. For some: 3, then attack fgsm"
        elif len(epsilons) == 2:
            note = "This run has one epsilon: two points a curve. For a sweep: 3, then epsilon 0.01,0.03,0.1,0.3"
        self.query_one("#epsilon-note", Static).update(note, layout=False)
        recognition = "accuracy %" if run.config.labels == "true" else "fooled %"
        self.query_one("#accuracy-pane", CurvePane).border_title = f"{recognition} against epsilon"
        self.query_one("#shift-pane", CurvePane).border_title = f"mean shift of PSI of {layer} against epsilon"
        rows, of_layer = view.tables.get("conditions", []), view.tables.get("layers", [])
        key = "accuracy_percent" if run.config.labels == "true" else "success_percent"
        for name, series, unit in (
            ("#accuracy-curves", _curves(run, rows, key), recognition),
            (
                "#shift-curves",
                _curves(run, [row for row in of_layer if row["layer"] == layer], "delta_mean"),
                "shift of PSI",
            ),
        ):
            plot = self.query_one(name, Plot)
            plot.empty = view.waiting if len(epsilons) > 1 else "no epsilon"
            plot.figure = Curves(series, "epsilon", unit) if series else None

    def copies(self, view: ResultsView) -> dict[str, str]:
        """The command that prints the numbers."""
        return {"command that prints the numbers": f"psi-tui show {view.snapshot.run.id} --table conditions"}


def _curves(run: Run, rows: Sequence[Row], key: str) -> tuple[Series, ...]:
    """One curve an attack or control from epsilon 0, where images are benign: nothing shifts and none is fooled."""
    controls = [condition.attack for condition in run.condition_details if condition.is_control]
    benign = next((row for row in rows if row["condition"] == BENIGN), {})
    start = (0.0, as_number(benign.get(key)) if key == "accuracy_percent" else 0.0)
    curves = []
    swept = (row for row in rows if row["condition"] != BENIGN and row["epsilon"] is not None)
    for attack in dict.fromkeys(str(row["attack"]) for row in swept):
        own = [(as_number(row["epsilon"]), as_number(row[key])) for row in rows if row["attack"] == attack]
        points = sorted({start, *(point for point in own if point[0] > 0)})
        role: Role = "attacked" if attack not in controls else "control" if attack == controls[0] else "other"
        curves.append(Series(attack, tuple(x for x, _ in points), tuple(y for _, y in points), role))
    return tuple(curves)
