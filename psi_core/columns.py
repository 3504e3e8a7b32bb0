"""Columns of every table: names as exported, headings as shown, and what each means. Rows are made in `tables`."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Cell: TypeAlias = str | int | float | bool | None
Row: TypeAlias = dict[str, Cell]

Kind: TypeAlias = Literal["text", "count", "flag", "epsilon", "psi", "shift", "percent", "change", "p", "number"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: key of the rows and header of the CSV.
        heading: short, for screens and papers.
        kind: what the cells are, which decides how they are rounded where people read them: `psi` and `shift` (signed)
            are in units of the index, `percent` and `change` (signed) 0..100, `epsilon` in pixel units.
        help: one sentence.
        is_key: whether a narrow screen or a printed page shows it.
    """

    name: str
    heading: str
    kind: Kind
    help: str
    is_key: bool = False


_FORMATS: dict[Kind, str] = {
    "epsilon": ".4g",
    "psi": ".4f",
    "shift": "+.4f",
    "percent": ".1f",
    "change": "+.1f",
    "p": ".4f",
    "number": ".3f",
}


def readable(cell: Cell, kind: Kind) -> str:
    """A cell as people read it, rounded by kind; empty where there is no value. CSV and JSON are never rounded."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if kind == "p" and isinstance(cell, float) and cell < 0.0001:
        return "< 0.0001"
    return format(cell, _FORMATS.get(kind, "")) if isinstance(cell, float) else str(cell)


def as_cell(value: float | np.generic | NDArray[np.generic]) -> Cell:
    """A number for a row: NaN becomes None, numpy's types Python's."""
    number: Cell = value.item() if isinstance(value, np.generic | np.ndarray) else value
    return None if isinstance(number, float) and math.isnan(number) else number


def as_number(cell: Cell) -> float:
    """A cell as a number: NaN where it holds none. The reverse of `as_cell`."""
    return float(cell) if isinstance(cell, int | float) else math.nan


_LAYER = Column("layer", "layer", "text", "The tapped layer, in forward order.", True)
_CONDITION = Column("condition", "condition", "text", "What was done to the images.", True)
_ATTACK = Column("attack", "attack", "text", "The attack or control; benign for unchanged images.")
_EPSILON = Column("epsilon", "epsilon", "epsilon", "Largest change of a pixel, on the 0..1 scale.")
_LABEL = Column("label", "label", "count", "Number of the class.", True)
_ACCURACY = Column(
    "accuracy_percent",
    "accuracy %",
    "percent",
    "Share of these images that the network names correctly; empty where labels are its own predictions.",
    True,
)


def _delta_columns(suffix: str, against: str, is_key: bool) -> tuple[Column, ...]:
    return (
        Column(f"delta{suffix}_mean", f"d {against}", "shift", f"Mean difference from {against}, by image.", is_key),
        Column(f"delta{suffix}_ci_low", "CI low", "shift", "Lower end of its 95 % bootstrap interval.", is_key),
        Column(f"delta{suffix}_ci_high", "CI high", "shift", "Upper end of its 95 % bootstrap interval.", is_key),
    )


LAYER_COLUMNS: tuple[Column, ...] = (
    _LAYER,
    Column("module", "module", "text", "Path of the module inside the network."),
    Column("units", "units", "count", "How many responses the index sees per image."),
    _CONDITION,
    _ATTACK,
    _EPSILON,
    Column("subset", "subset", "text", "Which images count: all, correct, fooled or resisted."),
    Column("images", "images", "count", "Images of the subset, silent ones too."),
    Column("silent", "silent", "count", "Images to which no unit of the layer responds; they have no PSI."),
    Column("psi_mean", "PSI", "psi", "Mean population sparseness: 0 all units alike, 1 a single unit.", True),
    Column("psi_sd", "sd", "psi", "Standard deviation of PSI over images, ddof 1.", True),
    Column("psi_median", "median", "psi", "Median PSI."),
    Column("psi_q25", "q25", "psi", "First quartile of PSI."),
    Column("psi_q75", "q75", "psi", "Third quartile of PSI."),
    Column("peak_left", "peak left", "psi", "Left edge of the fullest histogram bin; the lowest of equal ones."),
    Column("peak_center", "peak", "psi", "Middle of the fullest histogram bin.", True),
    Column("peak_right", "peak right", "psi", "Right edge of the fullest histogram bin."),
    Column(
        "peak_percent", "peak %", "percent", "Non-silent images in that bin: shows concentration, not sparseness.", True
    ),
    Column("peak_accuracy_percent", "peak accuracy %", "percent", "Accuracy of the images in that bin."),
    _ACCURACY,
    Column("active_fraction_mean", "active", "psi", "Mean share of units that respond at all."),
    *_delta_columns("", "benign", True),
    Column("delta_median", "d median", "shift", "Median difference from benign, by image."),
    Column("effect_size", "d_z", "number", "Cohen's d_z against benign: mean difference / its sd.", True),
    Column("p_value", "p", "p", "Wilcoxon signed-rank test against benign."),
    Column("p_holm", "p Holm", "p", "The same p, Holm's correction over the layers of the condition.", True),
    Column("percent_lower", "lower %", "percent", "Share of images whose PSI falls."),
    Column("ks", "KS", "number", "Kolmogorov-Smirnov distance of the two distributions."),
    Column("overlap", "overlap", "number", "Share that the two histograms have in common, 0..1."),
    Column("auroc", "AUROC", "number", "P(attacked PSI > benign PSI), ties half; 0.5 tells nothing.", True),
    Column("auroc_ci_low", "AUROC low", "number", "Lower end of its 95 % interval, Hanley & McNeil."),
    Column("auroc_ci_high", "AUROC high", "number", "Upper end of its 95 % interval, Hanley & McNeil."),
    Column("control", "control", "text", "The control that the next columns compare with."),
    *_delta_columns("_control", "control", False),
    Column("effect_size_control", "d_z control", "number", "Cohen's d_z against the control."),
    Column("p_control_holm", "p Holm control", "p", "Wilcoxon p against the control, Holm over layers."),
    Column("auroc_control", "AUROC control", "number", "P(attacked PSI > control PSI), ties half."),
    Column("verdict", "verdict", "text", "What the numbers say, in words."),
)

MEASURE_COLUMNS: tuple[Column, ...] = (
    _LAYER,
    _CONDITION,
    Column("measure", "measure", "text", "What is measured per image and layer.", True),
    Column("mean", "mean", "psi", "Mean over images.", True),
    Column("sd", "sd", "psi", "Standard deviation over images, ddof 1.", True),
    Column("median", "median", "psi", "Median over images.", True),
    *_delta_columns("", "benign", True),
    Column("effect_size", "d_z", "number", "Cohen's d_z against benign.", True),
)

HISTOGRAM_COLUMNS: tuple[Column, ...] = (
    _LAYER,
    _CONDITION,
    Column("bin_left", "from", "psi", "Left edge, which belongs to the bin.", True),
    Column("bin_right", "to", "psi", "Right edge, which belongs to the last bin only.", True),
    Column("count", "images", "count", "Images inside.", True),
    Column("percent", "%", "percent", "Share of the non-silent images.", True),
)

CLASS_COLUMNS: tuple[Column, ...] = (
    _LAYER,
    _CONDITION,
    _LABEL,
    Column("class_name", "class", "text", "Name of the class.", True),
    Column("images", "images", "count", "Images of the class, silent ones too.", True),
    _ACCURACY,
    Column("psi_mean", "PSI", "psi", "Mean over its images of their PSI.", True),
    Column("psi_class_mean", "PSI of mean", "psi", "PSI over channels of the class's mean response.", True),
    Column("psi_liu", "PSI Liu", "psi", "By the preset of Liu, Zhen & Liu 2020, where computed."),
)

IMAGE_COLUMNS: tuple[Column, ...] = (
    Column("index", "image", "count", "Position in the data set.", True),
    _LABEL,
    _CONDITION,
    Column("prediction", "prediction", "count", "Class that the network chooses.", True),
    Column("correct", "correct", "flag", "Whether that is the true class.", True),
    Column("confidence", "confidence", "number", "Probability given to the labeled class.", True),
    Column("linf", "L-inf", "number", "Largest change of a pixel that was realized."),
    Column("l2", "L2", "number", "Euclidean size of the change that was realized."),
)
"""Columns that every run's images table has; `image_columns` adds one per layer."""

CONDITION_COLUMNS: tuple[Column, ...] = (
    _CONDITION,
    _ATTACK,
    _EPSILON,
    Column("images", "images", "count", "Images seen so far.", True),
    _ACCURACY,
    Column(
        "success_percent",
        "fooled %",
        "percent",
        "Of the images right before, the share now wrong; where labels are own predictions, the share that changed.",
        True,
    ),
    Column("linf_mean", "L-inf", "number", "Mean over images of the largest change of a pixel.", True),
    Column("linf_max", "L-inf max", "number", "Largest change of any pixel of any image."),
    Column("l2_mean", "L2", "number", "Mean Euclidean size of the change.", True),
    Column("zero_gradient_percent", "no gradient %", "percent", "Images that a gradient of 0 left where they were."),
)

STUDY_COLUMNS: tuple[Column, ...] = (
    _LAYER,
    _CONDITION,
    Column("images", "images", "count", "Images with a PSI; silent ones are left out."),
    Column("bins", "bins", "count", "Bins of the histogram over 0..1; other bins give other heights."),
    Column("peak_left", "peak left", "psi", "Left edge of the fullest bin; the lowest of equal ones."),
    Column("peak_right", "peak right", "psi", "Right edge of the fullest bin."),
    Column("published", "published", "percent", "The peak value that the study's table gives.", True),
    Column(
        "height_percent", "H %", "percent", "Reading H: images in the fullest bin. Concentration, not sparseness.", True
    ),
    Column("accuracy_percent", "A %", "percent", "Reading A: accuracy of the images in the fullest bin.", True),
    Column("location", "L", "percent", "Reading L: 100 x the PSI at the middle of the fullest bin.", True),
    Column("published_change", "d published", "change", "Published value, attacked minus benign."),
    Column("height_change", "d H", "change", "Height, attacked minus benign."),
    Column("accuracy_change", "d A", "change", "Accuracy in the fullest bin, attacked minus benign."),
    Column("location_change", "d L", "change", "Location, attacked minus benign."),
    Column("agrees_height", "H agrees", "flag", "Whether H moves the way the published value does.", True),
    Column("agrees_accuracy", "A agrees", "flag", "Whether A moves the way the published value does.", True),
    Column("agrees_location", "L agrees", "flag", "Whether L moves the way the published value does.", True),
)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "layers": LAYER_COLUMNS,
    "measures": MEASURE_COLUMNS,
    "histogram": HISTOGRAM_COLUMNS,
    "classes": CLASS_COLUMNS,
    "images": IMAGE_COLUMNS,
    "conditions": CONDITION_COLUMNS,
    "study": STUDY_COLUMNS,
}
"""Columns by table."""


def image_columns(layers: Iterable[str]) -> tuple[Column, ...]:
    """Columns of the images table of a run with these layers."""
    own = (Column(f"psi_{layer}", f"PSI {layer}", "psi", f"PSI of {layer}; empty where silent.") for layer in layers)
    return (*IMAGE_COLUMNS, *own)
