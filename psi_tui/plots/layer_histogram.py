"""One layer's histogram in two conditions, on shared bins: its numbers, as screens, pipes and JSON show them."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from psi_core.errors import ConfigError, unknown_name
from psi_core.measures import MEASURES, require_measure
from psi_core.plain_text import counted
from psi_core.runs.run import Run
from psi_core.statistics.histograms import DISPLAY_BINS, TABLE_BINS, bin_counts, display_edges, measure_edges
from psi_core.statistics.paired import percent, present, subset_mask
from psi_core.tables.columns import Cell, Row, as_cell
from psi_core.tables.layers import HISTOGRAM_COLUMNS
from psi_core.tables.summary import headline_condition
from psi_tui.plots.figures import MirroredHistogram
from psi_tui.text.formatting import format_cell


@dataclass(frozen=True, slots=True)
class LayerHistogram:
    """Histograms of one layer, benign and compared.

    Attributes:
        layer: its name.
        measure: what is counted.
        conditions: the two conditions, benign first.
        edges: edges of the bins they share.
        counts: images in each bin, for each of the two.
        images: with a value at all, for each of the two: a few may lie outside the edges.
        control: the condition that the compared one has as its control, or None.
        shift: mean difference from benign, by image; None without a pair.
        shift_from_control: mean difference from the control, likewise.
    """

    layer: str
    measure: str
    conditions: tuple[str, ...]
    edges: list[float]
    counts: tuple[list[int], ...]
    images: tuple[int, ...]
    control: str | None
    shift: Cell
    shift_from_control: Cell

    @property
    def title(self) -> str:
        """What is counted, of which layer."""
        return f"{MEASURES[self.measure].heading} of {self.layer}"

    @property
    def shifts(self) -> str:
        """Both differences, as the tables call them; empty where nothing was done to the images."""
        if self.is_alone:
            return ""
        beyond = "" if self.control is None else f"  Δ-control {format_cell(self.shift_from_control, 'shift')}"
        return f"Δ {format_cell(self.shift, 'shift')}{beyond}"

    @property
    def short_shifts(self) -> str:
        """Both differences without their names: from benign, from the control; empty where there is but benign."""
        if self.is_alone:
            return ""
        shifts = (self.shift, *(() if self.control is None else (self.shift_from_control,)))
        return f"Δ {', '.join(format_cell(shift, 'shift') for shift in shifts)}"

    @property
    def is_alone(self) -> bool:
        """Whether the run has benign images alone."""
        return len(self.conditions) == 1

    @property
    def rows(self) -> list[Row]:
        """As the histogram table has them."""
        names = [column.name for column in HISTOGRAM_COLUMNS]
        return [
            dict(zip(names, (self.layer, condition, left, right, count, float(percent(count, images))), strict=True))
            for condition, counts, images in zip(self.conditions, self.counts, self.images, strict=True)
            for (left, right), count in zip(pairwise(self.edges), counts, strict=True)
        ]

    @property
    def outside(self) -> int:
        """How many values lie in no bin."""
        return sum(self.images) - sum(map(sum, self.counts))

    @property
    def figure(self) -> MirroredHistogram:
        """As a plot."""
        names = [f"{name}, {counted(count, 'image')}" for name, count in zip(self.conditions, self.images, strict=True)]
        upper, lower = names if len(names) == 2 else (*names, "")
        below = () if self.is_alone else tuple(self.counts[1])
        return MirroredHistogram(tuple(self.edges), tuple(self.counts[0]), below, upper, lower)


def layer_histogram(
    run: Run,
    layer: str,
    *,
    measure: str = "psi",
    condition: str | None = None,
    bins: int | None = None,
    subset: str = "all",
    whole_range: bool = False,
) -> LayerHistogram:
    """Benign against another condition, over the range that the layer takes in all conditions of the run.

    Where nothing was done to the images there is but benign.

    Args:
        run: a run with results.
        layer: its name.
        measure: one of the run's.
        condition: the other condition; default: the first attack at its largest epsilon.
        bins: how many; default 40.
        subset: one of `statistics.SUBSETS`, as it is for that condition.
        whole_range: whether the bins are those of the tables (default then: 20), over 0..1 for a share.

    Raises:
        ConfigError: the run has no such layer, measure or condition, or there is no such subset.
    """
    if layer not in run.layers:
        raise ConfigError(unknown_name("layer", layer, run.layers))
    chosen = headline_condition(run) if condition is None else condition
    others = run.conditions[1:] or run.conditions
    if chosen not in others:
        raise ConfigError(unknown_name("condition", chosen, others))
    require_measure(measure, run.measures, run.name)
    values = run.array(measure)[:, run.layers.index(layer)]
    if whole_range:
        edges = measure_edges(values, measure, bins or TABLE_BINS)
    else:
        edges = display_edges(values, bins or DISPLAY_BINS, measure)
    at = run.conditions.index(chosen)
    values = values[:, subset_mask(subset, run.predictions == run.labels)[at]]
    places = [0, at] if at else [0]
    named = run.condition_details[at].control
    control = named if named in run.conditions else None
    return LayerHistogram(
        layer,
        measure,
        tuple(run.conditions[place] for place in places),
        edges.tolist(),
        tuple(bin_counts(values[places], edges).tolist()),
        tuple(present(values[place]).size for place in places),
        control,
        _mean_difference(values[at], values[0]) if at else None,
        None if control is None else _mean_difference(values[at], values[run.conditions.index(control)]),
    )


def _mean_difference(values: NDArray[np.floating], reference: NDArray[np.floating]) -> Cell:
    """By image, as the layers table has it; None without a pair."""
    differences = present(values.astype(np.float64) - reference)
    return as_cell(differences.mean()) if differences.size else None
