"""Several runs side by side: layers aligned by name, one quantity at a time. Draws nothing."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from psi_core.config import RunConfig
from psi_core.options import option_text
from psi_core.runs.run import Run
from psi_core.tables.columns import LAYER, Cell, Kind, Row, as_number
from psi_core.tables.layers import layer_columns
from psi_core.tables.summary import headline_condition
from psi_tui.plots.figures import Curves, Series
from psi_tui.plots.ticks import shortened
from psi_tui.text.columns import LONGEST_NAME, ScreenColumn, elided, pick, screen_columns
from psi_tui.text.formatting import MISSING, beyond_cell, format_accuracies, format_cell

LETTERS = "abcdefghijklmnopqrstuvwxyz"
"""Names of the compared runs on screen, in order: the markers of their curves too."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """What of every layer is compared.

    Attributes:
        title: short.
        side: the row that holds it, `attacked` or `benign`.
        column: of the layers table.
    """

    title: str
    side: str
    column: str

    @property
    def kind(self) -> Kind:
        """Of its values, which decides how they are rounded."""
        return _KINDS[self.column]


_KINDS: dict[str, Kind] = {column.name: column.kind for column in layer_columns()}

QUANTITIES: dict[str, Quantity] = {
    "effect": Quantity("shift beyond noise, in benign sd", "attacked", "delta_sd"),
    "control": Quantity("shift beyond the control", "attacked", "delta_control_mean"),
    "shift": Quantity("mean shift of PSI", "attacked", "delta_mean"),
    "consistency": Quantity("consistency of the shift, d_z", "attacked", "effect_size"),
    "benign": Quantity("benign PSI", "benign", "psi_mean"),
    "attacked": Quantity("attacked PSI", "attacked", "psi_mean"),
    "auroc": Quantity("AUROC", "attacked", "auroc"),
}
"""What can be compared, by name."""

NOTHING_IN_COMMON = "no layer in common: each run stands in rows of its own"


def default_quantity(tables: Iterable[Sequence[Row]]) -> str:
    """Name of the quantity that runs are compared by first: the shift beyond noise, where one of them has noise.

    Args:
        tables: rows of the layers table of every run.
    """
    has_noise = any(row["delta_sd"] is not None for rows in tables for row in rows)
    return "effect" if has_noise else "shift"


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One run of a comparison.

    Attributes:
        letter: the letter that stands for it on this screen.
        name: of the run.
        condition: that is compared with benign.
        accuracies: in percent, benign and under that condition.
        layers: rows of the layers table, `benign` and `attacked`, by layer.
        control: of that condition, or None.
    """

    letter: str
    name: str
    condition: str
    accuracies: tuple[Cell, Cell]
    layers: Mapping[str, Mapping[str, Row]]
    control: str | None = None

    @classmethod
    def from_rows(cls, letter: str, name: str, condition: str, rows: list[Row]) -> "ComparedRun":
        """From the rows of a layers table."""
        pairs: dict[str, dict[str, Row]] = {}
        for row in rows:
            side = {"benign": "benign", condition: "attacked"}.get(str(row["condition"]))
            if side is not None:
                pairs.setdefault(str(row["layer"]), {})[side] = row
        first: Mapping[str, Row] = next(iter(pairs.values()), {})
        benign, attacked = (first.get(side, {}).get("accuracy_percent") for side in ("benign", "attacked"))
        control = first.get("attacked", {}).get("control")
        return cls(letter, name, condition, (benign, attacked), pairs, None if control is None else str(control))

    @property
    def legend(self) -> str:
        """One line: letter, name, condition and what that does to the accuracy, where there is one."""
        accuracies = format_accuracies(*map(as_number, self.accuracies))
        told = "" if accuracies == MISSING else f", accuracy {accuracies} %"
        return f"{self.letter}  {elided(self.name, LONGEST_NAME)}: {self.condition}{told}"

    def value(self, layer: str, quantity: Quantity) -> Cell:
        """The quantity of one layer; None where the run has no such layer, or no such number."""
        return self.layers.get(layer, {}).get(quantity.side, {}).get(quantity.column)


def has_verdicts(quantity: Quantity) -> bool:
    """Whether a sign before each number says what its verdict claims."""
    return quantity.column == "delta_sd"


def quantity_title(runs: Sequence[ComparedRun], quantity: Quantity) -> str:
    """What is compared; of a shift beyond the control, which control that is in each run: unlike ones compare badly."""
    if quantity.column != "delta_control_mean":
        return quantity.title
    controls = [run.control or "none" for run in runs]
    if len(set(controls)) > 1:
        controls = [f"{run.letter} {control}" for run, control in zip(runs, controls, strict=True)]
    return f"{quantity.title}: {', '.join(dict.fromkeys(controls))}"


def common_conditions(runs: Sequence[Run]) -> list[str]:
    """Conditions but benign that every run has, in the order of the first; unlike epsilons compare badly."""
    first, *others = runs
    return [name for name in first.conditions[1:] if all(name in run.conditions for run in others)]


def default_conditions(runs: Sequence[Run]) -> list[str]:
    """The condition of each run: the headline of the first that has one in common with all, else each its own."""
    common = common_conditions(runs)
    headline = next((name for run in runs if (name := headline_condition(run)) in common), None)
    return [headline or headline_condition(run) for run in runs]


def configuration_differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Options in which runs differ, but for their names: by name what each has, as it is typed.

    Images that are not all measured yet differ from as many that are.
    """
    texts = {
        name: [option_text(getattr(run.config, name, info.default)) or "none" for run in runs]
        for name, info in RunConfig.model_fields.items()
        if name != "name"
    }
    texts["images"] = [
        f"{text} ({run.status})" if run.missing_chunks else text
        for text, run in zip(texts["images"], runs, strict=True)
    ]
    return {name: values for name, values in texts.items() if len(set(values)) > 1}


def differences_line(differences: Mapping[str, Sequence[str]], width: float = math.inf) -> str:
    """Those differences in one line, `differ in  seed: a 0, b 1; size: a 28, b 64`; their names where that is long."""
    if not differences:
        return "configured alike"
    parts = [
        f"{name}: {', '.join(f'{letter} {text}' for letter, text in zip(LETTERS, values, strict=False))}"
        for name, values in differences.items()
    ]
    line = f"differ in  {'; '.join(parts)}"
    if cell_len(line) <= width:
        return line
    return shortened(f"differ in {', '.join(differences)}; y copies the values", int(width), ascii_only=False)


def have_common_layers(runs: Sequence[ComparedRun]) -> bool:
    """Whether there is a layer that two of the runs have, by name."""
    names = [name for run in runs for name in run.layers]
    return len(set(names)) < len(names)


def aligned_layers(runs: tuple[ComparedRun, ...]) -> list[str]:
    """Every layer of any run, in the order of the first run that has it; a layer new to it follows its own neighbor."""
    order: list[str] = []
    for run in runs:
        place = 0
        for layer in run.layers:
            if layer in order:
                place = order.index(layer) + 1
            else:
                order.insert(place, layer)
                place += 1
    return order


def comparison_rows(runs: tuple[ComparedRun, ...], quantity: Quantity) -> dict[str, dict[str, Any]]:
    """By layer: its name, the value of every run by its letter, and how far the last lies from the first."""
    rows = {}
    for layer in aligned_layers(runs):
        values = {run.letter: run.value(layer, quantity) for run in runs}
        first, last = values[runs[0].letter], values[runs[-1].letter]
        both = isinstance(first, int | float) and isinstance(last, int | float)
        rows[layer] = {"layer": layer, **values, "difference": last - first if both else None}  # type: ignore[operator]
    return rows


def comparison_curves(runs: tuple[ComparedRun, ...], quantity: Quantity) -> Curves:
    """One curve a run over the aligned layers."""
    layers = aligned_layers(runs)
    series = tuple(
        Series(
            run.name,
            tuple(float(place) for place in range(len(layers))),
            tuple(as_number(run.value(layer, quantity)) for layer in layers),
        )
        for run in runs
    )
    return Curves(series, "layer", quantity.title, tuple(layers))


def comparison_columns(runs: tuple[ComparedRun, ...], quantity: Quantity) -> tuple[ScreenColumn, ...]:
    """Columns of `comparison_rows`: a layer, every run by its letter, and of several the last minus the first."""
    signed: Kind = "shift" if quantity.kind in ("psi", "shift") else quantity.kind

    def of_run(run: ComparedRun, importance: int) -> ScreenColumn:
        def cell(row: Mapping[str, Any]) -> str:
            if has_verdicts(quantity):  # A number alone would claim what its verdict does not.
                return beyond_cell(run.layers.get(str(row["layer"]), {}).get(quantity.side, {}))
            return format_cell(row[run.letter], quantity.kind)

        return ScreenColumn(run.letter, cell, importance)

    first, last = runs[0].letter, runs[-1].letter
    difference = ScreenColumn(
        f"{last} - {first}", lambda row: format_cell(row["difference"], signed), 8, name="difference"
    )
    return (
        *pick(screen_columns([LAYER]), layer=10),
        *(of_run(run, 9 - place) for place, run in enumerate(runs)),
        *([difference] if len(runs) > 1 else []),
    )
