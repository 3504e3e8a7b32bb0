"""Tab Epsilon: accuracy under every attack and control, and what one of them does to a layer, against epsilon.

Where the labels are the network's own predictions, the share fooled stands in the place of the accuracy.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.widgets import Static

from psi_core.conditions import BENIGN, Condition, Epsilon, epsilon_label
from psi_core.runs.run import Run
from psi_core.tables.columns import Row, as_number
from psi_tui.plots.figures import Curves, Role, Series
from psi_tui.screens.base import Pane
from psi_tui.screens.results.shifts import control_of, shift_series
from psi_tui.screens.results.tab import ResultsTab
from psi_tui.screens.results.view import ResultsView
from psi_tui.widgets.plot import Plot


class CurvePane(Pane, can_focus=True):
    """One plot of curves; focused, `+` makes it large."""


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
        note = f"{len(epsilons) - 1} epsilons and 0; shifts are of {attack}; c: next attack or control"
        if len(run.conditions) == 1:
            note = "Nothing was done to the images, so there are no curves. For some: 3, then attack fgsm"
        elif len(epsilons) < 2:
            note = "Images attacked elsewhere have no epsilon, so there are no curves. For some: 3, then attack fgsm"
        elif len(epsilons) == 2:
            note = "This run has one epsilon: two points a curve. For a sweep: 3, then epsilon 0.01,0.03,0.1,0.3"
        self.query_one("#epsilon-note", Static).update(note, layout=False)
        recognition = "accuracy %" if run.config.labels == "true" else "fooled %"
        self.query_one("#accuracy-pane", CurvePane).border_title = f"{recognition} against epsilon"
        shift = f"mean shift of {view.measured}"
        self.query_one("#shift-pane", CurvePane).border_title = f"{shift} of {layer} against epsilon{view.subset_words}"
        of_layer = [row for row in view.tables.get("layers", []) if row["layer"] == layer]
        for name, series, unit in (
            ("#accuracy-curves", _recognition(run, view.tables.get("conditions", []), attack), recognition),
            ("#shift-curves", _shifts(run, of_layer, attack) if of_layer else (), shift),
        ):
            plot = self.query_one(name, Plot)
            plot.empty = view.waiting if len(epsilons) > 1 else "no epsilon"
            plot.about = replace(view.subject(), condition=attack)
            texts = _written(epsilons)
            figure = Curves(series, "epsilon", unit, x_texts=texts, subject=plot.about) if series and attack else None
            plot.figure = figure

    def conditions_in_turn(self, view: ResultsView) -> list[str]:
        """One condition of every attack and control, at the present epsilon or the largest: a curve has them all."""
        named: dict[str, str] = {}
        for condition in sorted(
            _swept(view.snapshot.run), key=lambda each: (each.epsilon == view.condition.epsilon, each.epsilon)
        ):
            named[condition.attack] = condition.name
        return [named[attack] for attack in _attacks(view.snapshot.run)]

    def copies(self, view: ResultsView) -> dict[str, str]:
        show, choices = f"psi-tui show {view.snapshot.run.id}", view.choices
        shifts = f"{show} --measure {choices.measure} --subset {choices.subset}"
        return {"command that prints accuracies": f"{show} --table conditions", "command that prints shifts": shifts}


def _written(epsilons: Sequence[float]) -> tuple[tuple[float, str], ...]:
    """Epsilons and how they are written, where one is a fraction; else a curve's own round numbers do."""
    if not any(isinstance(epsilon, Epsilon) for epsilon in epsilons):
        return ()
    return tuple((epsilon, epsilon_label(epsilon)) for epsilon in epsilons)


def _swept(run: Run) -> list[Condition]:
    """Conditions that have an epsilon."""
    return [condition for condition in run.condition_details if condition.has_epsilon and not condition.is_benign]


def _attacks(run: Run) -> list[str]:
    """Attacks, then controls."""
    return list(dict.fromkeys(condition.attack for condition in _swept(run)))


def _chosen_attack(view: ResultsView) -> str:
    """The attack or control of the chosen condition, or the first that has an epsilon; empty where none has one."""
    attacks = _attacks(view.snapshot.run)
    return view.condition.attack if view.condition.attack in attacks else next(iter(attacks), "")


def _recognition(run: Run, rows: Sequence[Row], chosen: str) -> tuple[Series, ...]:
    """One curve an attack or control, the chosen one first, from epsilon 0, where images are benign and none fooled."""
    if not rows:
        return ()
    key = "accuracy_percent" if run.config.labels == "true" else "success_percent"
    benign = next((row for row in rows if row["condition"] == BENIGN), {})
    start = as_number(benign.get(key)) if run.config.labels == "true" else 0.0
    controls = [condition.attack for condition in run.condition_details if condition.is_control]
    curves = []
    for attack in dict.fromkeys([chosen, *_attacks(run)]):
        role: Role = "attacked" if attack not in controls or attack == chosen else "other"
        if attack in controls[:1]:
            role = "control"
        points = _points(rows, attack, key, start)
        curves.append(Series(attack, tuple(x for x, _ in points), tuple(y for _, y in points), role))
    return tuple(curves)


def _shifts(run: Run, rows: Sequence[Row], attack: str) -> tuple[Series, ...]:
    """What the attack does to a layer, what it does beyond its control, and what that does, from epsilon 0."""
    found = (control_of(each, run.condition_details) for each in _swept(run) if each.attack == attack)
    control = next((each.attack for each in found if each is not None), None)
    return shift_series(attack, control, lambda name, column: _points(rows, name, column, 0.0))


def _points(rows: Sequence[Row], attack: str, column: str, start: float) -> list[tuple[float, float]]:
    """Epsilon and value, from what holds at epsilon 0."""
    own = [(as_number(row["epsilon"]), as_number(row[column])) for row in rows if row["attack"] == attack]
    return [(0.0, start), *sorted(point for point in own if point[0] > 0)]
