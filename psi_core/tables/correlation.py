"""The correlation table: whether a network recognizes those classes better to which a layer responds sparsely."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from psi_core.runs.run import Run
from psi_core.statistics.classes import Correlation, correlation
from psi_core.statistics.contrasts import SIGNIFICANT
from psi_core.statistics.paired import population_sparseness
from psi_core.tables.classes import LEAST_CLASSES, class_means, class_values
from psi_core.tables.columns import CONDITION, LAYER, Column, numbers
from psi_core.tables.table import Cells, View, label_notes

CORRELATION_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("measure", "measure", "text", "Column of the classes table that is set against accuracy.", True),
    Column("classes", "classes", "count", "Classes that have both values.", True),
    Column("r", "r", "number", "Pearson's correlation of accuracy and sparseness over the classes.", True),
    Column("r_ci_low", "CI low", "number", "Lower end of its 95 % interval, Fisher's z.", True),
    Column("r_ci_high", "CI high", "number", "Upper end of its 95 % interval, Fisher's z.", True),
    Column("p_value", "p", "p", "Two-sided p of r, not corrected.", True),
    Column("verdict", "verdict", "text", "What the numbers say, in words."),
)

_SPARSENESS_OF = {"psi_mean": "responses", "psi_class_mean": "mean responses"}


def correlation_rows(run: Run, _view: View) -> Iterator[Cells]:
    """One row per layer, condition and measure of sparseness by class.

    There is no r where labels are the network's own predictions, for too few classes, or where one side is constant.
    """
    values = class_values(run)
    has_accuracy = run.config.labels == "true"
    for at_layer, layer in enumerate(run.layer_infos):
        of_means = population_sparseness(class_means(run, layer, values.labels))
        for at, condition in enumerate(run.conditions):
            accuracy = values.accuracy_percent[at]
            measured = {"psi_mean": values.psi_mean[at, at_layer], "psi_class_mean": of_means[at]}
            for measure, sparseness in measured.items():
                found = correlation(accuracy, sparseness)
                yield (
                    layer.name,
                    condition,
                    measure,
                    found.classes,
                    *numbers(found.r, found.ci_low, found.ci_high, found.p),
                    _verdict(found, accuracy[~np.isnan(sparseness)], _SPARSENESS_OF[measure])
                    if has_accuracy
                    else "no accuracy: labels are the network's own predictions",
                )


def correlation_notes(run: Run, _view: View) -> list[str]:
    """How large an r must be, and whose the labels are."""
    chance = (
        "with 10 classes, |r| below 0.63 is not significant; p is not corrected over layers, so that one in 20 is "
        "below 0.05 by chance"
    )
    return [chance, *label_notes(run)]


def _verdict(found: Correlation, accuracy: NDArray[np.float64], responses: str) -> str:
    """What a correlation says: whether there is a relation, and which way; else why there is no coefficient.

    Args:
        found: over the classes.
        accuracy: accuracy of the images that have both values.
        responses: what is sparse.
    """
    if found.classes < LEAST_CLASSES:
        return f"too few classes: {found.classes}, and a correlation needs {LEAST_CLASSES}"
    if np.isnan(found.r):
        constant = "accuracy" if np.ptp(accuracy) == 0 else "PSI"
        return f"no relation to be seen: {constant} is the same in all classes"
    # Plus 0.0, for -0.00 would be a strange sight.
    numbers = f"r = {round(found.r, 2) + 0.0:.2f}, {_p_text(found.p)}, {found.classes} classes"
    if found.p >= SIGNIFICANT:
        return f"no relation shown ({numbers})"
    return f"higher accuracy goes with {'sparser' if found.r > 0 else 'denser'} {responses} ({numbers})"


def _p_text(p: float) -> str:
    """A p to two digits, which is all that a sentence needs."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"
