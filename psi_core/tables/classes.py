"""The classes table: recognition and sparseness by class."""

import numpy as np
from numpy.typing import NDArray

from psi_core.columns import ACCURACY, CONDITION, LABEL, LAYER, Column, Row, as_cell
from psi_core.errors import RunError
from psi_core.runs import Run
from psi_core.statistics import percent, population_sparseness

CLASS_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    LABEL,
    Column("class_name", "class", "text", "Name of the class.", True),
    Column("images", "images", "count", "Images of the class, silent ones too.", True),
    ACCURACY,
    Column("psi_mean", "PSI", "psi", "Mean over its images of their PSI.", True),
    Column("psi_class_mean", "PSI of mean", "psi", "PSI over channels of the class's mean response.", True),
    Column("psi_liu", "PSI Liu", "psi", "By the preset of Liu, Zhen & Liu 2020, where computed."),
)


def class_rows(run: Run) -> list[Row]:
    """One row per layer, condition and class that has images.

    `psi_class_mean` is the PSI over channels of the mean response to the class; open chunks do not count in it.
    """
    psi = run.psi.astype(np.float64)
    labels, images = np.unique(run.labels, return_counts=True)
    accuracy = percent(_class_totals(run.predictions == run.labels, run.labels), images)
    if run.config.labels == "predicted":
        accuracy = np.full_like(accuracy, np.nan)
    silent = np.isnan(psi)
    totals = _class_totals(np.where(silent, 0.0, psi), run.labels)
    psi_mean = percent(totals, _class_totals(~silent, run.labels)) / 100
    names = run.model.get("class_names") or []
    rows: list[Row] = []
    for at_layer, layer in enumerate(run.layers):
        of_means = _sparseness_of_means(run, layer)
        for at, condition in enumerate(run.conditions):
            for number, label in enumerate(labels.tolist()):
                rows.append(
                    {
                        "layer": layer,
                        "condition": condition,
                        "label": label,
                        "class_name": str(names[label]) if 0 <= label < len(names) else None,
                        "images": as_cell(images[number]),
                        "accuracy_percent": as_cell(accuracy[at, number]),
                        "psi_mean": as_cell(psi_mean[at, at_layer, number]),
                        "psi_class_mean": as_cell(of_means[label][at]) if label in of_means else None,
                        "psi_liu": None,
                    }
                )
    return rows


def _class_totals(values: NDArray[np.generic], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums over the images of each class, ascending: (..., image) to (..., class)."""
    order = np.argsort(labels, kind="stable")
    starts = np.unique(labels[order], return_index=True)[1]
    return np.add.reduceat(values[..., order].astype(np.float64), starts, axis=-1)


def _sparseness_of_means(run: Run, layer: str) -> dict[int, NDArray[np.float64]]:
    """PSI of the class-mean response over channels, (condition,) by label; empty while no chunk is finished."""
    try:
        labels, _, sums = run.class_sums(layer)
    except RunError:  # Open chunks have no class sums.
        return {}
    values = population_sparseness(sums)  # The index is blind to scale: sums serve as means.
    return {label: values[:, number] for number, label in enumerate(labels.tolist())}
