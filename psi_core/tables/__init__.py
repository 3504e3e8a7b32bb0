"""Rows of every table from a run: what screens show and exports hold. Columns and their meaning live in `columns`.

A row is a plain dict in column order; None where there is no value. A run that is not finished gives tables of what
is there.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from psi_core.columns import COLUMNS, Column, Row, as_cell, image_columns
from psi_core.errors import ConfigError, RunError, unknown_name
from psi_core.histograms import TABLE_BINS, bin_counts, table_edges
from psi_core.layer_table import layer_rows, shift_cells
from psi_core.runs import Run
from psi_core.statistics import SUBSETS, paired_statistics, percent, population_sparseness, summarize
from psi_core.study import study_rows

__all__ = [
    "TABLES",
    "class_rows",
    "condition_rows",
    "histogram_rows",
    "image_rows",
    "layer_rows",
    "measure_rows",
    "require_bins",
    "study_rows",
    "table_columns",
    "table_rows",
]


def measure_rows(run: Run) -> list[Row]:
    """One row per layer, condition and measure, over all images."""
    # Stacked, so that one set of bootstrap weights serves all measures.
    values = np.stack([run.array(measure).astype(np.float64) for measure in run.measures])
    differences = values - values[:, :1]
    differences[:, 0] = np.nan
    summary, statistics = summarize(values), paired_statistics(differences)
    rows: list[Row] = []
    for at_layer, at, number in np.ndindex(len(run.layers), len(run.conditions), len(run.measures)):
        place = number, at, at_layer
        shift = statistics.at(*place)
        rows.append(
            {
                "layer": run.layers[at_layer],
                "condition": run.conditions[at],
                "measure": run.measures[number],
                "mean": as_cell(summary.mean[place]),
                "sd": as_cell(summary.sd[place]),
                "median": as_cell(summary.median[place]),
                **shift_cells(shift),
                "effect_size": as_cell(shift.effect_size),
            }
        )
    return rows


def histogram_rows(run: Run, bins: int = TABLE_BINS) -> list[Row]:
    """One row per layer, condition and bin of PSI, the bins equal over 0..1."""
    edges = table_edges(bins)
    counts = bin_counts(run.psi, edges)
    shares = percent(counts, np.count_nonzero(~np.isnan(run.psi), axis=-1)[..., None])
    return [
        {
            "layer": layer,
            "condition": condition,
            "bin_left": as_cell(edges[number]),
            "bin_right": as_cell(edges[number + 1]),
            "count": as_cell(counts[at, at_layer, number]),
            "percent": as_cell(shares[at, at_layer, number]),
        }
        for at_layer, layer in enumerate(run.layers)
        for at, condition in enumerate(run.conditions)
        for number in range(bins)
    ]


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


def condition_rows(run: Run) -> list[Row]:
    """One row per condition: how far the images moved, and what that did to the recognition.

    `success_percent` is the share now wrong of the images right when benign; where the labels are the network's own
    predictions, the share whose prediction changed. The accuracy is then None.
    """
    correct = run.predictions == run.labels
    images = correct.shape[-1]
    fooled = percent(np.count_nonzero(correct[0] & ~correct, axis=-1), np.count_nonzero(correct[0]))
    accuracy = percent(np.count_nonzero(correct, axis=-1), images)
    linf, l2 = run.array("linf").astype(np.float64), run.array("l2").astype(np.float64)
    unmoved = percent(np.count_nonzero(linf == 0, axis=-1), images)
    return [
        {
            "condition": run.conditions[at],
            "attack": condition.attack,
            "epsilon": as_cell(condition.epsilon),
            "images": images,
            "accuracy_percent": as_cell(accuracy[at]) if run.config.labels == "true" else None,
            "success_percent": None if condition.is_benign else as_cell(fooled[at]),
            "linf_mean": as_cell(linf[at].mean()),
            "linf_max": as_cell(linf[at].max()),
            "l2_mean": as_cell(l2[at].mean()),
            "zero_gradient_percent": as_cell(unmoved[at]) if condition.follows_gradient else None,
        }
        for at, condition in enumerate(run.condition_details)
    ]


TABLES: dict[str, Callable[[Run], list[Row]]] = {
    "layers": layer_rows,
    "measures": measure_rows,
    "histogram": histogram_rows,
    "classes": class_rows,
    "images": image_rows,
    "conditions": condition_rows,
    "study": study_rows,
}
"""The function that makes each table's rows. All raise RunError while a run has no results."""


MOST_BINS = 1000
"""Bins that a table may be asked for."""


def table_rows(run: Run, table: str, *, subset: str = "all", bins: int = TABLE_BINS) -> list[Row]:
    """Rows of any of TABLES, asked for by name.

    Args:
        run: with results.
        table: its name.
        subset: one of `statistics.SUBSETS`; only the layers table has others than `all`.
        bins: of histograms and peaks, over 0..1; tables without any pass them over.

    Raises:
        ConfigError: there is no such table or subset, or the bins are out of range.
        RunError: the run has no results yet.
    """
    if table not in TABLES:
        raise ConfigError(unknown_name("table", table, TABLES))
    if subset not in SUBSETS:
        raise ConfigError(unknown_name("subset", subset, SUBSETS))
    require_bins(bins)
    if table == "layers":
        return layer_rows(run, subset, bins)
    if subset != "all":
        raise ConfigError(f"subset: the {table} table has all images; leave --subset out, or show layers")
    if table == "histogram":
        return histogram_rows(run, bins)
    return study_rows(run, bins) if table == "study" else TABLES[table](run)


def require_bins(bins: int) -> None:
    """Makes sure that a histogram can have so many bins.

    Raises:
        ConfigError: it cannot.
    """
    if not 1 <= bins <= MOST_BINS:
        raise ConfigError(f"bins: {bins} is out of range; write a number from 1 to {MOST_BINS}")


def table_columns(table: str, run: Run) -> tuple[Column, ...]:
    """Columns of one of TABLES for this run: the images table has one per layer."""
    return image_columns(run.layers) if table == "images" else COLUMNS[table]


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


def _without_nan(values: NDArray[np.float32]) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in values.tolist()]
