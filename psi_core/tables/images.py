"""What became of the images: the conditions table over all of them, the images table one by one."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from psi_core.runs.run import Run
from psi_core.statistics.paired import percent
from psi_core.statistics.recognition import fooled_percent, reached_percent, unmoved_percent
from psi_core.tables.columns import ACCURACY, ATTACK, CONDITION, EPSILON, LABEL, Column, as_cell, numbers
from psi_core.tables.table import Cells, View

CONDITION_COLUMNS: tuple[Column, ...] = (
    CONDITION,
    ATTACK,
    EPSILON,
    Column("images", "images", "count", "Images seen so far.", True),
    ACCURACY,
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
    Column("target", "target", "text", "How the class to reach was chosen; empty where attacks had none."),
    Column("target_percent", "target %", "percent", "Images taken for the class that attacks were to reach.", True),
)


def _norms(linf: NDArray[np.float64], l2: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean and largest L-infinity and mean L2 of the images that were attacked; NaN where an attack failed on all."""
    there = ~np.isnan(linf)
    if not there.any():
        return math.nan, math.nan, math.nan
    return float(linf[there].mean()), float(linf[there].max()), float(l2[there].mean())


def condition_rows(run: Run, _view: View) -> Iterator[Cells]:
    """One row per condition: how far the images moved, and what that did to the recognition.

    `success_percent` is the share now wrong of the images right when benign; where the labels are the network's own
    predictions, the share whose prediction changed. The accuracy is then None.
    """
    correct = run.predictions == run.labels
    images = correct.shape[-1]
    fooled, unmoved, reached = fooled_percent(run), unmoved_percent(run), reached_percent(run)
    accuracy = percent(np.count_nonzero(correct, axis=-1), images)
    linf, l2 = run.array("linf").astype(np.float64), run.array("l2").astype(np.float64)
    for at, condition in enumerate(run.condition_details):
        yield (
            run.conditions[at],
            condition.attack,
            as_cell(condition.epsilon),
            images,
            as_cell(accuracy[at]) if run.config.labels == "true" else None,
            None if condition.is_benign else as_cell(fooled[at]),
            *numbers(*_norms(linf[at], l2[at])),
            as_cell(unmoved[at]) if condition.follows_gradient else None,
            None if run.config.target == "none" else run.config.target,
            None if reached is None else as_cell(reached[at]),
        )


IMAGE_COLUMNS: tuple[Column, ...] = (
    Column("index", "image", "count", "Position in the data set.", True),
    LABEL,
    CONDITION,
    Column("prediction", "prediction", "count", "Class that the network chooses.", True),
    Column("correct", "correct", "flag", "Whether that is the true class.", True),
    Column("confidence", "confidence", "number", "Probability given to the labeled class.", True),
    Column("linf", "L-inf", "number", "Largest change of a pixel that was realized."),
    Column("l2", "L2", "number", "Euclidean size of the change that was realized."),
)
"""Those of every run; `image_columns` adds one per layer."""


def image_columns(run: Run, _view: View) -> tuple[Column, ...]:
    """Columns of the images table: the PSI of every layer of the run last."""
    own = (
        Column(f"psi_{layer}", f"PSI {layer}", "psi", f"PSI of {layer}; empty where silent.") for layer in run.layers
    )
    return (*IMAGE_COLUMNS, *own)


def image_rows(run: Run, _view: View) -> Iterator[Cells]:
    """One row per image and condition, image by image; `correct` is None without true labels."""
    index, labels, conditions = run.index.tolist(), run.labels.tolist(), run.conditions
    correct: list[list[bool]] | list[list[None]] = [[None] * len(index)] * len(conditions)
    if run.config.labels == "true":
        correct = (run.predictions == run.labels).tolist()
    prediction, confidence = run.array("prediction").tolist(), run.array("confidence").tolist()
    measured = [confidence, *(_without_nan(run.array(name)) for name in ("linf", "l2"))]
    psi = [_without_nan(run.psi[:, number]) for number in range(len(run.layers))]
    for image in range(len(index)):
        for at, condition in enumerate(conditions):
            yield (
                index[image],
                labels[image],
                condition,
                prediction[at][image],
                correct[at][image],
                *(values[at][image] for values in (*measured, *psi)),
            )


def _without_nan(values: NDArray[np.float32]) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in values.tolist()]
