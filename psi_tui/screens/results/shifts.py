"""Curves of mean shifts: attacked minus benign, attacked minus control, and the control itself as the baseline."""

import math
from collections.abc import Callable, Iterable

from psi_core.conditions import Condition, attack_row
from psi_core.tables.columns import Row, as_number
from psi_tui.plots.figures import Curves, Role, Series
from psi_tui.screens.results.view import ResultsView


def shift_series(
    attack: str, control: str | None, points: Callable[[str, str], Iterable[tuple[float, float]]]
) -> tuple[Series, ...]:
    """The curves that tell whether an attack does more than its control.

    Args:
        attack: name of the attack, or of a control that is looked at itself.
        control: name of its control; None leaves the first curve alone.
        points: gives, for an attack and a column of the layers table, where the curve goes.
    """
    if control is None:
        role: Role = "control" if attack_row(attack).is_control else "attacked"
        return (_series(f"{attack} - benign", points(attack, "delta_mean"), role),)
    return (
        _series(f"{attack} - benign", points(attack, "delta_mean"), "attacked"),
        _series(f"{attack} - {control}", points(attack, "delta_control_mean"), "beyond"),
        _series(f"{control} - benign", points(control, "delta_mean"), "control"),
    )


def control_of(condition: Condition, conditions: Iterable[Condition]) -> Condition | None:
    """The condition that another one has as its control."""
    return next((each for each in conditions if each.name == condition.control), None)


def profile_title(view: ResultsView) -> str:
    """What `profile_of` shows."""
    under = "" if view.condition.is_benign else f" under {view.choices.condition}"
    return f"mean shift of {view.measured}{under}, layer by layer{view.subset_words}"


def profile_of(view: ResultsView) -> Curves | None:
    """Mean shifts of every layer under the chosen condition and its control; None for benign, and before they come."""
    if view.condition.is_benign or not view.rows("layers", view.choices.condition):
        return None
    layers = tuple(view.snapshot.run.layers)
    condition = view.condition
    control = control_of(condition, view.snapshot.run.condition_details)
    named = {each.attack: each.name for each in (condition, control) if each is not None}

    def points(attack: str, column: str) -> list[tuple[float, float]]:
        found: dict[object, Row] = {row["layer"]: row for row in view.rows("layers", named[attack])}
        values = (as_number(found[layer][column]) if layer in found else math.nan for layer in layers)
        return [(float(place), value) for place, value in enumerate(values)]

    series = shift_series(condition.attack, None if control is None else control.attack, points)
    return Curves(series, "layer", f"mean shift of {view.measured}", layers, view.subject(layer=""))


def _series(name: str, points: Iterable[tuple[float, float]], role: Role) -> Series:
    along = tuple(points)
    return Series(name, tuple(x for x, _ in along), tuple(y for _, y in along), role)
