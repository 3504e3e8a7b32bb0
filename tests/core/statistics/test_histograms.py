"""Histograms and peaks: numpy's counts on the same edges, the lowest of equal bins, nothing from silent layers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from psi_core.statistics.histograms import bin_counts, bin_numbers, display_edges, find_peaks, overlap, table_edges

VALUES = st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.05, 0.3, 1.0, float("nan")])


@given(
    arrays(np.float64, st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(0, 12)), elements=VALUES),
    st.sampled_from([table_edges(), table_edges(7), np.linspace(0.2, 0.6, 41)]),
)
def test_counts_are_numpys_on_the_same_edges(psi: np.ndarray, edges: np.ndarray) -> None:
    counts = bin_counts(psi, edges)
    for place in np.ndindex(psi.shape[:-1]):
        row = psi[place]
        assert counts[place].tolist() == np.histogram(row[~np.isnan(row)], edges)[0].tolist()


def test_rounding_beyond_the_unit_range_stays_inside() -> None:
    assert bin_numbers(np.array([-1e-8, 1 + 1e-7, -0.1, 1.1, np.nan]), table_edges()).tolist() == [0, 19, -1, -1, -1]


def test_table_edges_read_as_multiples_of_a_twentieth() -> None:
    assert [repr(float(edge)) for edge in table_edges()[5:8]] == ["0.25", "0.3", "0.35"]


def test_display_edges_span_the_middle_of_all_conditions() -> None:
    psi = np.random.default_rng(0).normal(0.6, 0.01, (2, 1000))
    edges = display_edges(psi)
    assert len(edges) == 41
    assert (edges[0], edges[-1]) == pytest.approx(tuple(np.quantile(psi, (0.001, 0.999))))
    assert np.diff(edges) == pytest.approx((edges[-1] - edges[0]) / 40)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_values_all_alike_still_get_bins_that_hold_them(value: float) -> None:
    edges = display_edges(np.full((2, 5), value))
    assert (np.diff(edges) > 0).all()
    assert 0 <= edges[0] < edges[-1] <= 1
    assert bin_counts(np.full(5, value), edges).sum() == 5


def test_a_silent_layer_gets_the_whole_range() -> None:
    assert np.array_equal(display_edges(np.full(4, np.nan), 10), table_edges(10))


def test_peak_is_the_lowest_of_the_fullest_bins() -> None:
    psi = np.array([[[0.11, 0.12, 0.71, 0.72, 0.5, np.nan]]])
    correct = np.array([[True, False, True, True, True, True]])
    peaks = find_peaks(psi, table_edges(), correct)
    assert (peaks.left[0, 0], peaks.center[0, 0], peaks.right[0, 0]) == pytest.approx((0.1, 0.125, 0.15))
    assert peaks.percent[0, 0] == pytest.approx(40)
    assert peaks.accuracy_percent[0, 0] == pytest.approx(50)
    assert np.isnan(find_peaks(psi, table_edges()).accuracy_percent).all()


def test_a_silent_layer_has_no_peak() -> None:
    peaks = find_peaks(np.full((1, 2, 3), np.nan), table_edges(), np.ones((1, 3), bool))
    for values in (peaks.left, peaks.center, peaks.right, peaks.percent, peaks.accuracy_percent):
        assert np.isnan(values).all()


def test_overlap_of_equal_shares_is_whole_and_of_apart_ones_nothing() -> None:
    assert overlap(np.array([1, 3, 0]), np.array([2, 6, 0])) == pytest.approx(1)
    assert overlap(np.array([4, 0]), np.array([0, 4])) == 0
    assert overlap(np.array([3, 1]), np.array([1, 3])) == pytest.approx(0.5)
    assert np.isnan(overlap(np.array([0, 0]), np.array([1, 1])))
