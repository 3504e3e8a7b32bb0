"""The measures table: every measure of every layer in every condition, against benign."""

import numpy as np

from psi_core.columns import CONDITION, LAYER, Column, Row, as_cell, delta_columns
from psi_core.runs import Run
from psi_core.statistics import paired_statistics, summarize
from psi_core.tables.layers import shift_cells

MEASURE_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("measure", "measure", "text", "What is measured per image and layer.", True),
    Column("mean", "mean", "psi", "Mean over images.", True),
    Column("sd", "sd", "psi", "Standard deviation over images, ddof 1.", True),
    Column("median", "median", "psi", "Median over images.", True),
    *delta_columns("", "benign", True),
    Column("effect_size", "d_z", "number", "Cohen's d_z against benign.", True),
)


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
