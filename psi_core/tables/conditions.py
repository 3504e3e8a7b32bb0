"""The conditions table: how far images moved under each condition, and what that did to their recognition."""

import numpy as np

from psi_core.runs.run import Run
from psi_core.statistics.paired import percent
from psi_core.statistics.success import fooled_percent, reached_percent, unmoved_percent
from psi_core.tables.columns import ACCURACY, ATTACK, CONDITION, EPSILON, Column, Row, as_cell

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


def condition_rows(run: Run) -> list[Row]:
    """One row per condition: how far the images moved, and what that did to the recognition.

    `success_percent` is the share now wrong of the images right when benign; where the labels are the network's own
    predictions, the share whose prediction changed. The accuracy is then None.
    """
    correct = run.predictions == run.labels
    images = correct.shape[-1]
    fooled, unmoved, reached = fooled_percent(run), unmoved_percent(run), reached_percent(run)
    accuracy = percent(np.count_nonzero(correct, axis=-1), images)
    linf, l2 = run.array("linf").astype(np.float64), run.array("l2").astype(np.float64)
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
            "target": None if run.config.target == "none" else run.config.target,
            "target_percent": None if reached is None else as_cell(reached[at]),
        }
        for at, condition in enumerate(run.condition_details)
    ]
