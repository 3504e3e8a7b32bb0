"""What a column of a table is, how its cells are rounded for people, and the columns that several tables share."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from psi_core.conditions import Epsilon

if TYPE_CHECKING:  # The app's first paint does not wait for it.
    import numpy as np
    from numpy.typing import NDArray

Cell: TypeAlias = str | int | float | bool | None
Row: TypeAlias = dict[str, Cell]

Kind: TypeAlias = Literal[
    "text",
    "status",
    "sentence",
    "count",
    "flag",
    "epsilon",
    "psi",
    "peak",
    "shift",
    "percent",
    "change",
    "p",
    "sd",
    "number",
    "large",
]

PAGE_ROWS = 1000
"""Rows that a table for the page has at most, unless it is asked for by name."""

TEXT_KINDS: tuple[Kind, ...] = ("text", "status", "sentence", "flag")
"""Kinds that are set flush left."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: key of the rows and header of the CSV.
        heading: short, for papers and the plain table.
        kind: what the cells are, which decides how they are rounded where people read them: `psi`, `peak` (the middle
            of a bin) and `shift` (signed) are in units of the measure, `percent` and `change` (signed) 0..100,
            `epsilon` in pixel units, `sd` (signed) in standard deviations; a `status` is a check's;
            a `sentence` may need several lines.
        help: one sentence.
        is_key: whether a narrow screen or a printed page shows it.
        on_screen: heading beside related columns of a screen, where it is another.
    """

    name: str
    heading: str
    kind: Kind
    help: str
    is_key: bool = False
    on_screen: str = ""


_FORMATS: dict[Kind, str] = {
    "epsilon": ".4g",
    "percent": ".1f",
    "change": "+.1f",
    "p": ".4f",
    "sd": "+.3f",
    "number": ".3f",
}


NOT_CHECKED = "not checked"
"""What people read for the status `none` of a check."""


def readable(cell: Cell, kind: Kind) -> str:
    """A cell as people read it, rounded by kind; empty where there is no value. CSV and JSON are never rounded."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, str | Epsilon):
        return NOT_CHECKED if kind == "status" and cell == "none" else str(cell)
    if kind == "p" and isinstance(cell, float) and cell < 0.0001:
        return "< 0.0001"
    if kind in ("psi", "peak", "shift") and isinstance(cell, float):
        return format(cell, f"{'+' if kind == 'shift' else ''}.{decimals(cell)}f")
    return format(cell, _FORMATS.get(kind, "")) if isinstance(cell, float) else str(cell)


def decimals(value: float) -> int:
    """Of a measure's value: four up to 1, above that four digits in all, for some measures count a layer's units."""
    whole = len(f"{abs(value):.0f}") if abs(value) > 1 else 0
    return max(0, 4 - whole) if math.isfinite(value) else 0


def as_cell(value: "float | np.generic | NDArray[np.generic]") -> Cell:
    """A number for a row: NaN becomes None, numpy's types Python's."""
    number: Cell = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and math.isnan(number) else number


def numbers(*values: "float | np.generic | NDArray[np.generic]") -> tuple[Cell, ...]:
    """Cells side by side, each as `as_cell` gives it."""
    return tuple(as_cell(value) for value in values)


def as_cells(values: "NDArray[np.floating]") -> list[float | None]:
    """Many numbers for rows, from an array of one axis: NaN becomes None."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def as_number(cell: Cell) -> float:
    """A cell as a number: NaN where it holds none. The reverse of `as_cell`."""
    return float(cell) if isinstance(cell, int | float) else math.nan


LAYER = Column("layer", "layer", "text", "The tapped layer, in forward order.", True)
CONDITION = Column("condition", "condition", "text", "What was done to the images.", True)
ATTACK = Column("attack", "attack", "text", "The attack or control; benign for unchanged images.")
EPSILON = Column("epsilon", "epsilon", "epsilon", "Largest change of a pixel, on the 0..1 scale.")
LABEL = Column("label", "label", "count", "Number of the class.", True)
ACCURACY = Column(
    "accuracy_percent",
    "accuracy %",
    "percent",
    "Share of these images that the network names correctly; empty where labels are its own predictions.",
    True,
)


def delta_columns(suffix: str, against: str, is_key: bool) -> tuple[Column, ...]:
    """Columns of a mean difference and its interval.

    Args:
        suffix: suffix of their names, such as `_control`.
        against: what the difference is from.
        is_key: whether a narrow screen shows them.
    """
    return (
        Column(
            f"delta{suffix}_mean",
            f"d {against}",
            "shift",
            f"Mean difference from {against}, by image.",
            is_key,
            f"from {against}",
        ),
        Column(
            f"delta{suffix}_ci_low",
            "CI low",
            "shift",
            "Lower end of its 95 % interval, of images or blocks of 50.",
            is_key,
        ),
        Column(
            f"delta{suffix}_ci_high",
            "CI high",
            "shift",
            "Upper end of its 95 % interval.",
            is_key,
        ),
    )
