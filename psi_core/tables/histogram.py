"""The histogram table: counts of PSI, or another measure, in equal bins."""

import numpy as np

from psi_core.measures import require_measure
from psi_core.runs.run import Run
from psi_core.statistics.histograms import TABLE_BINS, bin_counts, measure_edges
from psi_core.statistics.paired import percent
from psi_core.tables.columns import CONDITION, LAYER, Column, Row, as_cell

HISTOGRAM_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("bin_left", "from", "psi", "Left edge, which belongs to the bin.", True),
    Column("bin_right", "to", "psi", "Right edge, which belongs to the last bin only.", True),
    Column("count", "images", "count", "Images inside.", True),
    Column("percent", "%", "percent", "Share of the images that have a value: of PSI, the non-silent ones.", True),
)


def histogram_rows(run: Run, bins: int = TABLE_BINS, measure: str = "psi") -> list[Row]:
    """One row per layer, condition and bin, the bins equal, as `measure_edges` lays them.

    Raises:
        ConfigError: the run has no such measure.
    """
    require_measure(measure, run.measures, run.name)
    values = run.array(measure)
    rows: list[Row] = []
    for at_layer, layer in enumerate(run.layers):
        of_layer = values[:, at_layer]
        edges = measure_edges(of_layer, measure, bins)
        counts = bin_counts(of_layer, edges)
        shares = percent(counts, np.count_nonzero(~np.isnan(of_layer), axis=-1)[..., None])
        rows += [
            {
                "layer": layer,
                "condition": condition,
                "bin_left": as_cell(edges[number]),
                "bin_right": as_cell(edges[number + 1]),
                "count": as_cell(counts[at, number]),
                "percent": as_cell(shares[at, number]),
            }
            for at, condition in enumerate(run.conditions)
            for number in range(bins)
        ]
    return rows
