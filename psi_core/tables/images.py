"""The images table: what every image did in every condition."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from psi_core.runs.run import Run
from psi_core.tables.columns import CONDITION, LABEL, Column, Row

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
"""Columns that every run's images table has; `image_columns` adds one per layer."""


def image_columns(layers: Iterable[str]) -> tuple[Column, ...]:
    """Columns of the images table of a run with these layers."""
    own = (Column(f"psi_{layer}", f"PSI {layer}", "psi", f"PSI of {layer}; empty where silent.") for layer in layers)
    return (*IMAGE_COLUMNS, *own)


def image_rows(run: Run) -> list[Row]:
    """One row per image and condition, image by image; `correct` is None without true labels."""
    correct = (run.predictions == run.labels).tolist() if run.config.labels == "true" else None
    lists = {name: run.array(name).tolist() for name in ("prediction", "confidence", "linf", "l2")}
    index, labels, conditions = run.index.tolist(), run.labels.tolist(), run.conditions
    psi = [(f"psi_{layer}", _without_nan(run.psi[:, number])) for number, layer in enumerate(run.layers)]
    return [
        {
            "index": index[image],
            "label": labels[image],
            "condition": condition,
            "prediction": lists["prediction"][at][image],
            "correct": None if correct is None else correct[at][image],
            "confidence": lists["confidence"][at][image],
            "linf": lists["linf"][at][image],
            "l2": lists["l2"][at][image],
            **{name: values[at][image] for name, values in psi},
        }
        for image in range(len(index))
        for at, condition in enumerate(conditions)
    ]


def _without_nan(values: NDArray[np.float32]) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in values.tolist()]
