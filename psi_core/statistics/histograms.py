"""Histograms of a measure on shared edges, and their peaks. What is compared image by image lives in `statistics`."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi_core.measures import MEASURES
from psi_core.statistics.paired import percent

TABLE_BINS = 20
"""Bins over 0..1 in tables and peaks: those of Lee & Kim 2023. A whole layer may fall into one of them."""

DISPLAY_BINS = 40
"""Bins over the range that a layer's values really take: what screens draw."""

_ROUNDING = 1e-6
"""How far beyond 0..1 a value may lie by rounding alone, and then counts as 0 or 1; else, a share of the value."""

_NARROWEST = 1e-3
"""Width of the displayed range where all values are alike: of shares, and of other measures as a share of the value."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """The fullest bin of every histogram: the lowest of several equal ones.

    Every array is float64 (condition, layer), NaN where no image has a value.

    Attributes:
        left: its left edge.
        center: its middle.
        right: its right edge.
        percent: share of the non-silent images inside it. Height shows concentration, not sparseness.
        accuracy_percent: recognition rate of the images inside it.
    """

    left: NDArray[np.float64]
    center: NDArray[np.float64]
    right: NDArray[np.float64]
    percent: NDArray[np.float64]
    accuracy_percent: NDArray[np.float64]


def table_edges(bins: int = TABLE_BINS) -> NDArray[np.float64]:
    """Edges of `bins` equal bins over 0..1, (bins + 1,)."""
    return np.arange(bins + 1) / bins  # Unlike linspace, gives 0.3 and not 0.30000000000000004.


def measure_edges(values: NDArray[np.floating], measure: str, bins: int = TABLE_BINS) -> NDArray[np.float64]:
    """Edges of a layer's bins in tables: over 0..1 for a share, else over the range that `display_edges` takes.

    Args:
        values: the layer's in every condition, any shape; NaN where it has none.
        measure: name of what they are.
        bins: how many.
    """
    return table_edges(bins) if MEASURES[measure].is_share else display_edges(values, bins, measure)


def display_edges(psi: NDArray[np.floating], bins: int = DISPLAY_BINS, measure: str = "psi") -> NDArray[np.float64]:
    """Edges of `bins` equal bins over the 0.1 to 99.9 % range of one layer in all conditions, (bins + 1,).

    Values that are all alike get a narrow range around them; a silent layer gets 0..1. The few values outside the
    range are in no bin.

    Args:
        psi: one layer's values in every condition, any shape; NaN where silent.
        bins: how many.
        measure: name of what they are, if not PSI.
    """
    values = np.asarray(psi, np.float64)
    values = values[~np.isnan(values)]
    if not values.size:
        return table_edges(bins)
    low, high = np.percentile(values, (0.1, 99.9))
    is_share = MEASURES[measure].is_share
    size = 1.0 if is_share else max(abs(low), abs(high))
    if high - low < _ROUNDING * size or high == low:
        width = _NARROWEST * (size or 1.0)
        low = (low + high - width) / 2
        low = np.clip(low, 0.0, 1.0 - width) if is_share else low
        high = low + width
    return np.linspace(low, high, bins + 1)


def bin_numbers(psi: NDArray[np.floating], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    """The bin of every value, from 0, in the shape of `psi`; -1 for NaN and for values outside the edges.

    As in `numpy.histogram`, a value on an edge belongs to the bin on its right, on the last edge to the last bin.
    """
    values = np.asarray(psi, np.float64)
    if edges[0] == 0:
        values = np.where((values < 0) & (values >= -_ROUNDING), 0.0, values)
    if edges[-1] == 1:
        values = np.where((values > 1) & (values <= 1 + _ROUNDING), 1.0, values)
    numbers = np.searchsorted(edges, values, side="right") - 1
    numbers[values == edges[-1]] = len(edges) - 2
    numbers[numbers >= len(edges) - 1] = -1  # NaN sorts above every edge.
    return numbers


def bin_counts(psi: NDArray[np.floating], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many values lie in each bin.

    Args:
        psi: (..., image), such as (condition, layer, image); NaN where silent.
        edges: ascending, (bins + 1,).

    Returns:
        (..., bins), as `numpy.histogram` counts them.
    """
    return _counts(bin_numbers(psi, edges), len(edges) - 1)


def find_peaks(
    psi: NDArray[np.floating], edges: NDArray[np.float64], correct: NDArray[np.bool_] | None = None
) -> Peaks:
    """The modal bin of every condition and layer.

    Args:
        psi: (condition, layer, image); NaN where silent.
        edges: edges of the bins, shared by all.
        correct: (condition, image), whether the network was right; None leaves the accuracy NaN.
    """
    numbers = bin_numbers(psi, edges)
    counts = _counts(numbers, len(edges) - 1)
    modal = counts.argmax(axis=-1)
    height = counts.max(axis=-1).astype(np.float64)
    images = np.count_nonzero(~np.isnan(psi), axis=-1)
    is_empty = height == 0
    left, right = (np.where(is_empty, np.nan, side[modal]) for side in (edges[:-1], edges[1:]))
    accuracy = np.full(height.shape, np.nan)
    if correct is not None:
        right_inside = np.count_nonzero((numbers == modal[..., None]) & correct[:, None, :], axis=-1)
        accuracy = percent(right_inside, height)
    return Peaks(left, (left + right) / 2, right, percent(np.where(is_empty, np.nan, height), images), accuracy)


def overlap(counts: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of two histograms on the same edges that they have in common, 0..1; NaN where one is empty.

    Args:
        counts: (..., bins).
        other: (..., bins).
    """
    smaller = np.minimum(*(percent(each, each.sum(axis=-1, keepdims=True)) for each in (counts, other)))
    return np.asarray(smaller.sum(axis=-1) / 100, np.float64)


def _counts(numbers: NDArray[np.intp], bins: int) -> NDArray[np.int64]:
    rows = numbers.reshape(math.prod(numbers.shape[:-1]), numbers.shape[-1])
    # One column more than bins, at the front, takes what is in no bin: one bincount serves all rows.
    flat = (rows + 1) + np.arange(len(rows))[:, None] * (bins + 1)
    counts = np.bincount(flat.ravel(), minlength=len(rows) * (bins + 1)).reshape(len(rows), bins + 1)
    return counts[:, 1:].reshape(*numbers.shape[:-1], bins)
