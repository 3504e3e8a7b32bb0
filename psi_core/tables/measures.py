"""The measures table: every measure of every layer in every condition, against benign and against the control."""

import numpy as np

from psi_core.runs.run import Run
from psi_core.statistics.paired import paired_statistics, summarize
from psi_core.tables.columns import CONDITION, LAYER, Column, Row, as_cell, delta_columns
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
    Column("control", "control", "text", "The control that the next columns compare with.", True),
    *delta_columns("_control", "control", True),
    Column("effect_size_control", "d_z control", "number", "Cohen's d_z against the control."),
)


def measure_rows(run: Run) -> list[Row]:
    """One row per layer, condition and measure, over all images; differences from benign and from the control."""
    names = run.conditions
    controls = [each.control if each.control in names else None for each in run.condition_details]
    # Stacked, so that one set of bootstrap weights serves all measures and both references.
    values = np.stack([run.array(measure).astype(np.float64) for measure in run.measures])
    differences = np.full((2, *values.shape), np.nan)
    differences[0, :, 1:] = values[:, 1:] - values[:, :1]
    for at, control in enumerate(controls):
        if control is not None:
            differences[1, :, at] = values[:, at] - values[:, names.index(control)]
    summary, statistics = summarize(values), paired_statistics(differences)
    rows: list[Row] = []
    for at_layer, at, number in np.ndindex(len(run.layers), len(names), len(run.measures)):
        place = number, at, at_layer
        shift, from_control = statistics.at(0, *place), statistics.at(1, *place)
        rows.append(
            {
                "layer": run.layers[at_layer],
                "condition": names[at],
                "measure": run.measures[number],
                "mean": as_cell(summary.mean[place]),
                "sd": as_cell(summary.sd[place]),
                "median": as_cell(summary.median[place]),
                **shift_cells(shift),
                "effect_size": as_cell(shift.effect_size),
                "control": controls[at],
                **shift_cells(from_control, "_control"),
                "effect_size_control": as_cell(from_control.effect_size),
            }
        )
    return rows
