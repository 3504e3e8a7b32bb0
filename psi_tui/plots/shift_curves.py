"""Curves of a run from rows of its tables, as screens, pages and reports show them.

Mean shifts from benign and beyond a control, layer by layer or against epsilon, and recognition against epsilon.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from psi_core.conditions import BENIGN, Condition, Epsilon, attack_row, epsilon_label
from psi_core.runs.run import Run
from psi_core.tables.columns import Row, as_number
from psi_tui.plots.figures import Curves, Role, Series, Subject

Point: TypeAlias = tuple[float, float, float, float]
"""Where it lies across and upwards, and the ends of its interval, NaN where it has none."""


def profile_curves(
    run: Run, condition: Condition, rows: Callable[[str], Sequence[Row]], measured: str, subject: Subject
) -> Curves:
    """Mean shifts of every layer under a condition and its control, layer by layer.

    Args:
        run: the run.
        condition: not benign.
        rows: gives the rows of the layers table under a condition.
        measured: what the values are of, as titles name it.
        subject: what the curves are of.
    """
    layers = tuple(run.layers)
    control = control_of(condition, run.condition_details)
    named = {each.attack: each.name for each in (condition, control) if each is not None}

    def points(attack: str, stem: str) -> list[Point]:
        found: dict[object, Row] = {row["layer"]: row for row in rows(named[attack])}
        return [
            _point(place, found[layer], stem) if layer in found else (place, math.nan, math.nan, math.nan)
            for place, layer in enumerate(layers)
        ]

    series = _shift_series(condition.attack, None if control is None else control.attack, points)
    return Curves(series, "layer", f"mean shift of {measured}", layers, subject)


def shift_curves(run: Run, rows: Sequence[Row], attack: str, measured: str, subject: Subject) -> Curves:
    """What an attack does to one layer, what it does beyond its control, and what that does, against epsilon.

    Args:
        run: the run.
        rows: of the layers table, of one layer.
        attack: an attack or control that has an epsilon.
        measured: what the values are of, as titles name it.
        subject: what the curves are of.
    """
    found = (control_of(each, run.condition_details) for each in swept(run) if each.attack == attack)
    control = next((each.attack for each in found if each is not None), None)

    def points(name: str, stem: str) -> list[Point]:
        own = [_point(as_number(row["epsilon"]), row, stem) for row in rows if row["attack"] == name]
        return [(0.0, 0.0, math.nan, math.nan), *sorted(point for point in own if point[0] > 0)]

    return _against_epsilon(run, _shift_series(attack, control, points), f"mean shift of {measured}", subject)


def recognition_curves(run: Run, rows: Sequence[Row], chosen: str, subject: Subject) -> Curves:
    """Accuracy against epsilon, one curve an attack or control, from epsilon 0, where images are benign.

    Where the labels are the network's own predictions, the share fooled stands in the place of the accuracy.

    Args:
        run: the run.
        rows: of the conditions table.
        chosen: the attack or control that comes first.
        subject: what the curves are of.
    """
    key = "accuracy_percent" if run.config.labels == "true" else "success_percent"
    benign = next((row for row in rows if row["condition"] == BENIGN), {})
    start = as_number(benign.get(key)) if run.config.labels == "true" else 0.0
    controls = [condition.attack for condition in run.condition_details if condition.is_control]
    curves = []
    for attack in dict.fromkeys([chosen, *swept_attacks(run)]) if rows else ():
        role: Role = "attacked" if attack not in controls or attack == chosen else "other"
        if attack in controls[:1]:
            role = "control"
        own = [(as_number(row["epsilon"]), as_number(row[key])) for row in rows if row["attack"] == attack]
        points = [(0.0, start), *sorted(point for point in own if point[0] > 0)]
        curves.append(Series(attack, tuple(x for x, _ in points), tuple(y for _, y in points), role))
    return _against_epsilon(run, tuple(curves), recognition_title(run), subject)


def recognition_title(run: Run) -> str:
    """What stands for recognition in a run."""
    return "accuracy %" if run.config.labels == "true" else "fooled %"


def swept(run: Run) -> list[Condition]:
    """Conditions that have an epsilon."""
    return [condition for condition in run.condition_details if condition.has_epsilon and not condition.is_benign]


def swept_attacks(run: Run) -> list[str]:
    """Attacks, then controls, that have an epsilon."""
    return list(dict.fromkeys(condition.attack for condition in swept(run)))


def control_of(condition: Condition, conditions: Iterable[Condition]) -> Condition | None:
    """The condition that another one has as its control."""
    return next((each for each in conditions if each.name == condition.control), None)


def _against_epsilon(run: Run, series: tuple[Series, ...], y_title: str, subject: Subject) -> Curves:
    epsilons = sorted({condition.epsilon for condition in run.condition_details if condition.has_epsilon})
    return Curves(series, "epsilon", y_title, subject=subject, x_texts=_written(epsilons))


def _written(epsilons: Sequence[float]) -> tuple[tuple[float, str], ...]:
    """Epsilons and how they are written, where one is a fraction; else a curve's own round numbers do."""
    if not any(isinstance(epsilon, Epsilon) for epsilon in epsilons):
        return ()
    return tuple((epsilon, epsilon_label(epsilon)) for epsilon in epsilons)


def _shift_series(
    attack: str, control: str | None, points: Callable[[str, str], Sequence[Point]]
) -> tuple[Series, ...]:
    """The curves that tell whether an attack does more than its control.

    Args:
        attack: name of the attack, or of a control that is looked at itself.
        control: name of its control; None leaves the first curve alone.
        points: gives, for an attack and the stem of columns of the layers table, where the curve goes.
    """
    if control is None:
        role: Role = "control" if attack_row(attack).is_control else "attacked"
        return (_series(f"{attack} - benign", points(attack, "delta"), role),)
    return (
        _series(f"{attack} - benign", points(attack, "delta"), "attacked"),
        _series(f"{attack} - {control}", points(attack, "delta_control"), "beyond"),
        _series(f"{control} - benign", points(control, "delta"), "control"),
    )


def _point(x: float, row: Row, stem: str) -> Point:
    return x, *(as_number(row[f"{stem}_{part}"]) for part in ("mean", "ci_low", "ci_high"))  # type: ignore[return-value]


def _series(name: str, points: Sequence[Point], role: Role) -> Series:
    x, y, low, high = zip(*points, strict=True) if points else ((), (), (), ())
    return Series(name, x, y, role, tuple(zip(low, high, strict=True)))
