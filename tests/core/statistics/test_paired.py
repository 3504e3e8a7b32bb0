"""Paired statistics: each against scipy or a plain reference, with silent images, few images and none."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from psi_core.errors import ConfigError
from psi_core.statistics.paired import (
    auroc,
    holm,
    ks_distance,
    paired_statistics,
    percent,
    population_sparseness,
    subset_mask,
    summarize,
    wilcoxon_p,
)

PROBABILITIES = st.floats(0, 1) | st.just(float("nan"))


@pytest.fixture(scope="module")
def differences() -> np.ndarray:
    """(3 conditions, 4 layers, 200 images), some NaN, the second condition shifted in layer 2."""
    random = np.random.default_rng(1)
    values = random.normal(0, 0.02, (3, 4, 200))
    values[1, 2] += 0.02
    values[random.random(values.shape) < 0.1] = np.nan
    return values


def test_summary_equals_numpy_on_what_is_there(differences: np.ndarray) -> None:
    summary = summarize(differences)
    for place in np.ndindex(3, 4):
        kept = differences[place][~np.isnan(differences[place])]
        assert summary.images[place] == kept.size
        assert summary.mean[place] == pytest.approx(kept.mean())
        assert summary.sd[place] == pytest.approx(np.std(kept, ddof=1))
        assert (summary.q25[place], summary.median[place], summary.q75[place]) == pytest.approx(
            tuple(np.quantile(kept, (0.25, 0.5, 0.75)))
        )


def test_paired_statistics_equal_plain_ones(differences: np.ndarray) -> None:
    statistics = paired_statistics(differences)
    for place in np.ndindex(3, 4):
        kept = differences[place][~np.isnan(differences[place])]
        shift = statistics.at(*place)
        assert shift.pairs == kept.size
        assert shift.mean == pytest.approx(kept.mean())
        assert shift.median == pytest.approx(np.median(kept))
        assert shift.effect_size == pytest.approx(scipy.stats.ttest_1samp(kept, 0).statistic / np.sqrt(kept.size))
        assert shift.percent_lower == pytest.approx(100 * np.mean(kept < 0))
        assert shift.p == pytest.approx(scipy.stats.wilcoxon(kept).pvalue)


def test_no_difference_anywhere_is_exactly_nothing() -> None:
    shift = paired_statistics(np.zeros((1, 1, 50))).at(0, 0)
    assert (shift.mean, shift.median, shift.ci_low, shift.ci_high, shift.effect_size) == (0, 0, 0, 0, 0)
    assert (shift.p, shift.p_holm, shift.percent_lower) == (1, 1, 0)


def test_the_same_difference_everywhere_is_an_infinite_effect() -> None:
    statistics = paired_statistics(np.stack([np.full(20, 0.25), np.full(20, -0.25)])[None])
    assert statistics.effect_size.tolist() == [[np.inf, -np.inf]]
    assert statistics.ci_low[0] == pytest.approx([0.25, -0.25])


def test_no_image_gives_nan_and_one_gives_its_difference() -> None:
    nothing = paired_statistics(np.full((1, 2, 3), np.nan)).at(0, 1)
    assert nothing.pairs == 0
    assert np.isnan([nothing.mean, nothing.ci_low, nothing.effect_size, nothing.p, nothing.percent_lower]).all()
    assert np.isnan(paired_statistics(np.empty((1, 1, 0))).mean).all()
    one = paired_statistics(np.array([[[np.nan, -0.5]]])).at(0, 0)
    assert (one.pairs, one.mean, one.median, one.percent_lower) == (1, -0.5, -0.5, 100)
    assert np.isnan([one.ci_low, one.ci_high, one.effect_size, one.p, one.p_holm]).all()


def test_wilcoxon_leaves_out_differences_of_zero() -> None:
    moved = np.array([0.1, 0.2, -0.3, 0.4, 0.5])
    assert wilcoxon_p(np.append(moved, [0, 0, np.nan])) == scipy.stats.wilcoxon(moved).pvalue


def naive_holm(row: list[float]) -> list[float]:
    tests = sorted((p, place) for place, p in enumerate(row) if not np.isnan(p))
    adjusted, largest = [float("nan")] * len(row), 0.0
    for rank, (p, place) in enumerate(tests):
        largest = max(largest, (len(tests) - rank) * p)
        adjusted[place] = min(largest, 1.0)
    return adjusted


@given(arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(0, 6)), elements=PROBABILITIES))
def test_holm_equals_a_naive_one(p: np.ndarray) -> None:
    expected = np.array([naive_holm(row) for row in p.tolist()]).reshape(p.shape)
    np.testing.assert_allclose(holm(p), expected)


def test_a_family_takes_all_layers_of_its_conditions() -> None:
    p = np.array([[0.01, 0.04], [0.02, np.nan], [0.01, 0.6]])
    adjusted = holm(p, ["attacks", "controls", "attacks"])
    np.testing.assert_allclose(adjusted, [[0.04, 0.08], [0.02, np.nan], [0.04, 0.6]])
    np.testing.assert_allclose(holm(p, ["a", "b", "c"]), holm(p))


def test_holm_on_a_known_example() -> None:
    assert holm(np.array([0.01, 0.04, np.nan, 0.03])) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)


def test_auroc_counts_ties_half_and_equals_mann_whitney() -> None:
    random = np.random.default_rng(2)
    attacked, benign = random.integers(0, 20, 80) / 20, random.integers(3, 23, 80) / 20
    u = scipy.stats.mannwhitneyu(attacked, benign).statistic
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(attacked, benign)]
    area, low, high = auroc(np.append(attacked, np.nan), np.append(benign, np.nan))
    assert area == pytest.approx(u / 6400)
    assert area == pytest.approx(np.mean(pairs))
    assert 0 <= low < area < high <= 1


@given(arrays(np.float64, 12, elements=st.floats(0, 1)), arrays(np.float64, 12, elements=st.floats(0, 1)))
def test_swapping_the_sets_mirrors_the_auroc(values: np.ndarray, other: np.ndarray) -> None:
    area, low, high = auroc(values, other)
    assert (1 - area, 1 - high, 1 - low) == pytest.approx(auroc(other, values))


def test_ks_distance_is_the_largest_gap_of_the_distributions() -> None:
    random = np.random.default_rng(4)
    values, other = random.random(40), random.random(70) + 0.2
    gaps = [abs(np.mean(values <= x) - np.mean(other <= x)) for x in np.concatenate([values, other])]
    assert ks_distance(np.append(values, np.nan), other) == pytest.approx(max(gaps))


def test_empty_sets_have_no_distance() -> None:
    nothing, something = np.full(3, np.nan), np.array([0.5])
    assert np.isnan(ks_distance(nothing, something))
    assert np.isnan(auroc(something, nothing[:1])).all()
    assert auroc(something, something)[0] == 0.5
    assert np.isnan(auroc(something, something)[1:]).all(), "one image has no interval"


def test_subsets_are_taken_per_condition_and_part_the_correct() -> None:
    correct = np.array([[True, True, False, False], [True, False, True, False]])
    masks = {name: subset_mask(name, correct).tolist() for name in ("all", "correct", "fooled", "kept", "resisted")}
    assert masks["all"] == [[True] * 4] * 2
    assert masks["correct"] == [[True, True, False, False]] * 2
    assert masks["fooled"] == [[False] * 4, [False, True, False, False]]
    assert masks["resisted"] == masks["kept"] == [[True, True, False, False], [True, False, False, False]]
    with pytest.raises(ConfigError, match="did you mean 'fooled'"):
        subset_mask("foled", correct)


@pytest.mark.parametrize(
    ("responses", "psi"),
    [
        ([1, 0, 0, 0], 1),
        ([1, 1, 1, 1], 0),
        ([1, 1, 0, 0], 2 / 3),
        ([1, 2, 3, 4], 2 / 9),
        ([0, 0, 0], np.nan),
        ([5], np.nan),
    ],
)
def test_sparseness_of_known_responses(responses: list[float], psi: float) -> None:
    assert population_sparseness(np.array(responses)) == pytest.approx(psi, nan_ok=True)


def test_sparseness_of_the_mean_response() -> None:
    rows = np.array([[4, 0, 0, 1], [3, 1, 0, 0], [0, 0, 2, 1]])
    assert population_sparseness(rows) == pytest.approx([43 / 51, 4 / 5, 11 / 15])
    assert population_sparseness(rows.mean(axis=0)) == pytest.approx(44 / 87)


def test_percent_of_nothing_is_nan() -> None:
    assert percent([1, 0], [4, 0]) == pytest.approx([25, np.nan], nan_ok=True)


def test_false_alarms_stay_below_the_promised_rate() -> None:
    """Without any shift, a family of four layers raises an alarm in at most about one of twenty runs."""
    noise = np.random.default_rng(11).normal(0, 1, (200, 4, 60))
    statistics = paired_statistics(noise)
    alarms = (statistics.p_holm < 0.05).any(axis=-1).mean()
    covered = ((statistics.ci_low <= 0) & (statistics.ci_high >= 0)).mean()
    assert 0.005 <= alarms <= 0.09
    assert 0.91 <= covered <= 0.97


def test_a_planted_shift_is_found_where_it_was_planted(differences: np.ndarray) -> None:
    statistics = paired_statistics(differences)
    assert (statistics.p_holm < 0.05).sum() == 1
    assert statistics.p_holm[1, 2] < 1e-10
    assert statistics.ci_low[1, 2] < 0.02 < statistics.ci_high[1, 2]
    assert statistics.effect_size[1, 2] == pytest.approx(1, abs=0.25)
