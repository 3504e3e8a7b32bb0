"""The histogram table: counts of PSI in equal bins over 0..1."""

import numpy as np

from psi_core.columns import CONDITION, LAYER, Column, Row, as_cell
from psi_core.histograms import TABLE_BINS, bin_counts, table_edges
from psi_core.runs import Run
from psi_core.statistics import percent

HISTOGRAM_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("bin_left", "from", "psi", "Left edge, which belongs to the bin.", True),
    Column("bin_right", "to", "psi", "Right edge, which belongs to the last bin only.", True),
    Column("count", "images", "count", "Images inside.", True),
    Column("percent", "%", "percent", "Share of the non-silent images.", True),
)


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
