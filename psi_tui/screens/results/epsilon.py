"""Tab Epsilon: accuracy under every attack and control, and what one of them does to a layer, against epsilon.

Where the labels are the network's own predictions, the share fooled stands in the place of the accuracy.
"""

from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.widgets import Static

from psi_core.plain_text import counted
from psi_tui.plots.shift_curves import recognition_curves, recognition_title, shift_curves, swept, swept_attacks
from psi_tui.screens.base import PlotPane
from psi_tui.screens.results.tab import ResultsTab
from psi_tui.screens.results.view import ResultsView
from psi_tui.widgets.plot import Plot


class CurvePane(PlotPane):
    """One plot of curves; focused, `+` makes it large, left and right read values off."""


class EpsilonTab(ResultsTab):
    """Two plots of curves: recognition, a curve an attack or control; and the shifts under the chosen one."""

    TABLES: ClassVar[tuple[str, ...]] = ("layers", "conditions")
    SHOWS = frozenset({"condition", "layer", "subset", "measure"})
    FOCUS = "#accuracy-pane"

    def compose(self) -> ComposeResult:
        yield Static(id="epsilon-note", markup=False)
        with CurvePane(id="accuracy-pane"):
            yield Plot(id="accuracy-curves")
        with CurvePane(id="shift-pane"):
            yield Plot(id="shift-curves")

    def show(self, view: ResultsView) -> None:
        run, layer, attack = view.snapshot.run, view.choices.layer, _chosen_attack(view)
        epsilons = sorted({condition.epsilon for condition in run.condition_details if condition.has_epsilon})
        note = f"{counted(len(epsilons) - 1, 'epsilon')} and 0; shifts are of {attack}; c: next attack or control"
        if len(run.conditions) == 1:
            note = "Nothing was done to the images, so there are no curves. For some: 3, then attack fgsm"
        elif len(epsilons) < 2:
            note = "Images attacked elsewhere have no epsilon, so there are no curves. For some: 3, then attack fgsm"
        elif len(epsilons) == 2:
            note = "This run has one epsilon: two points a curve. For a sweep: 3, then epsilon 0.01,0.03,0.1,0.3"
        self.query_one("#epsilon-note", Static).update(note, layout=False)
        recognition = recognition_title(run)
        self.query_one("#accuracy-pane", CurvePane).border_title = f"{recognition} against epsilon"
        shift = f"mean shift of {view.measured}"
        self.query_one("#shift-pane", CurvePane).border_title = f"{shift} of {layer} against epsilon{view.subset_words}"
        of_layer = [row for row in view.tables.get("layers", []) if attack and row["layer"] == layer]
        subject = replace(view.subject(), condition=attack)
        conditions = view.tables.get("conditions", []) if attack else []
        figures = {
            "#accuracy-curves": recognition_curves(run, conditions, attack, subject) if conditions else None,
            "#shift-curves": shift_curves(run, of_layer, attack, view.measured, subject) if of_layer else None,
        }
        for name, figure in figures.items():
            plot = self.query_one(name, Plot)
            plot.empty = view.waiting if len(epsilons) > 1 else "no epsilon"
            plot.about = subject
            plot.figure = figure

    def conditions_in_turn(self, view: ResultsView) -> list[str]:
        """One condition of every attack and control, at the present epsilon or the largest: a curve has them all."""
        named: dict[str, str] = {}
        for condition in sorted(
            swept(view.snapshot.run), key=lambda each: (each.epsilon == view.condition.epsilon, each.epsilon)
        ):
            named[condition.attack] = condition.name
        return [named[attack] for attack in swept_attacks(view.snapshot.run)]

    def copies(self, view: ResultsView) -> dict[str, str]:
        show, choices = f"psi-tui show {view.snapshot.run.id}", view.choices
        shifts = f"{show} --measure {choices.measure} --subset {choices.subset}"
        return {"command that prints accuracies": f"{show} --table conditions", "command that prints shifts": shifts}


def _chosen_attack(view: ResultsView) -> str:
    """The attack or control of the chosen condition, or the first that has an epsilon; empty where none has one."""
    attacks = swept_attacks(view.snapshot.run)
    return view.condition.attack if view.condition.attack in attacks else next(iter(attacks), "")
