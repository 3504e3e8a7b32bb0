"""Contrasts with noise: against scipy and an independent reference, their coverage, and what is decided from them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from psi_core.statistics.contrasts import (
    Contrast,
    Silence,
    classes_moved,
    contrast,
    decide,
    rank_biserial,
    size_word,
    smallest_detectable,
)


@pytest.fixture
def random():
    return np.random.default_rng(11)


def draws(random, images, delta=0.3, own=0.4):
    """Benign values of sd 2, and the same images under noise and under an attack that lies `delta` sd beyond it."""
    benign = random.normal(5, 2, images)
    noisy = benign + random.normal(0.1, 0.2, images)
    return benign, noisy + random.normal(2 * delta, 2 * own, images), noisy


def test_the_numbers_are_those_of_scipy(random):
    benign, attacked, noisy = draws(random, 150)
    attacked[:7], benign[3], noisy[20:22] = np.nan, np.nan, np.nan
    kept = ~np.isnan(benign + attacked + noisy)
    found, moved = contrast("n", benign, attacked, noisy), (attacked - noisy)[kept]
    assert (found.pairs, found.shift) == (kept.sum(), pytest.approx(moved.mean()))
    assert found.delta == pytest.approx(moved.mean() / benign[kept].std(ddof=1))
    assert found.p == pytest.approx(scipy.stats.ttest_1samp(moved, 0).pvalue)
    assert found.same_way == np.mean(moved > 0)
    nonzero = scipy.stats.rankdata(np.abs(moved)) * np.sign(moved)
    assert rank_biserial(attacked - noisy + 0 * benign) == pytest.approx(nonzero.sum() / np.abs(nonzero).sum())


def test_the_interval_is_the_jackknifes(random):
    """Which knows that the benign sd is an estimate: with a large delta that is half of the uncertainty."""
    benign, attacked, noisy = draws(random, 120, delta=1.5)
    without = [
        contrast("n", *(np.delete(values, place) for values in (benign, attacked, noisy))).delta for place in range(120)
    ]
    error = math.sqrt(119 / 120 * np.square(np.subtract(without, np.mean(without))).sum())
    found = contrast("n", benign, attacked, noisy)
    half = scipy.stats.t.ppf(0.975, 119) * error
    assert (found.low, found.high) == pytest.approx((found.delta - half, found.delta + half), rel=0.02)
    assert (found.inner_high - found.inner_low) / (found.high - found.low) == pytest.approx(
        scipy.stats.t.ppf(0.95, 119) / scipy.stats.t.ppf(0.975, 119)
    )


def test_units_of_the_measure_do_not_matter(random):
    values = draws(random, 80)
    one, other = (contrast("n", *(scale * each + 3 for each in values)) for scale in (1, 250))
    assert (one.delta, one.low, one.high, one.p) == pytest.approx((other.delta, other.low, other.high, other.p))
    mirrored = contrast("n", *(-each for each in values))
    assert (mirrored.delta, mirrored.low, mirrored.high) == pytest.approx((-one.delta, -one.high, -one.low))


@pytest.mark.parametrize(("images", "repeats"), [(20, 1500), (200, 1500), (2000, 500)])
@pytest.mark.parametrize("delta", [0.0, 0.5])
def test_95_percent_intervals_hold_93_to_97_percent_of_the_time(random, images, repeats, delta):
    held = np.zeros(2)
    for _ in range(repeats):
        found = contrast("n", *draws(random, images, delta))
        held += found.low < delta < found.high, found.inner_low < delta < found.inner_high
    error = 3 * (0.95 * 0.05 / repeats) ** 0.5
    assert 0.93 - error < held[0] / repeats < 0.97 + error
    assert 0.88 - error < held[1] / repeats < 0.92 + 2 * error


def test_what_cannot_be_told_is_nan_and_nothing_warns(random):
    few = contrast("n", *draws(random, 9))
    assert few.pairs == 9 and not math.isnan(few.delta)
    assert np.isnan([few.low, few.high, few.p]).all() and not few.is_told and not few.is_equivalent
    alike = contrast("n", np.ones(30), np.full(30, 1.5), np.ones(30))
    assert (alike.shift, alike.p) == (0.5, 0) and math.isnan(alike.delta) and not alike.is_told
    nothing = contrast("n", *[np.full(20, np.nan)] * 3)
    assert nothing.pairs == 0 and np.isnan([nothing.shift, nothing.same_way]).all()
    values = random.normal(0, 1, 20)
    same = contrast("n", values, values, values)
    assert (same.delta, same.low, same.high, same.p) == (0, 0, 0, 1) and same.is_equivalent


NOISE = Contrast("sign-noise@0.1", 1000, 0.01, 0.4, 0.3, 0.5, 0.32, 0.48, 1e-9, 0.9)


def moved_to(delta, half=0.1, *, p=None, pairs=1000):
    """A contrast of so many sd, its 95 % interval so far to either side."""
    inner = half * 1.645 / 1.96
    p = p if p is not None else 2 * scipy.stats.norm.sf(abs(delta) / (half / 1.96))
    return replace(
        NOISE,
        **{"shift": delta / 40, "delta": delta, "low": delta - half, "high": delta + half, "p": p, "pairs": pairs},
        inner_low=delta - inner,
        inner_high=delta + inner,
    )


UP, DOWN, SAME, UNCLEAR = moved_to(0.4), moved_to(-0.4), moved_to(0.01, 0.05), moved_to(0.1, 0.15)


@pytest.mark.parametrize(
    ("against_benign", "contrasts", "finding"),
    [
        (moved_to(0.6), [UP], "beyond"),
        (moved_to(-0.6), [DOWN, moved_to(-0.7)], "beyond"),
        (moved_to(0.6), [UP, moved_to(0.05, 0.02)], "beyond"),
        (moved_to(0.6), [DOWN], "less"),
        (moved_to(0.01, 0.1), [DOWN], "less"),
        (moved_to(0.01, 0.1), [UP], "less"),
        (moved_to(-0.02, 0.01), [DOWN], "less"),
        (moved_to(-0.2, 0.1), [moved_to(-0.7)], "beyond"),
        (moved_to(0.1, 0.15), [moved_to(0.12)], "beyond"),
        (moved_to(0.6), [UP, DOWN], "depends"),
        (moved_to(0.6), [moved_to(0.05, 0.02), moved_to(-0.05, 0.02)], "equivalent"),
        (moved_to(0.6), [UP, SAME], "undecided"),
        (moved_to(0.6), [UP, SAME, DOWN], "undecided"),
        (moved_to(0.6), [UP, UNCLEAR], "undecided"),
        (moved_to(0.6), [UNCLEAR], "undecided"),
        (moved_to(0.6), [SAME], "equivalent"),
        (moved_to(0.6), [SAME, moved_to(-0.03, 0.02)], "equivalent"),
        (moved_to(0.6), [SAME, UNCLEAR], "undecided"),
        (moved_to(0.6), [moved_to(0.4, pairs=9)], "few"),
        (moved_to(0.6, pairs=9), [], "few"),
        (moved_to(0.6), [], "unmatched"),
    ],
)
def test_the_finding(against_benign, contrasts, finding):
    p = max([each.p for each in contrasts or [against_benign]])
    decision = decide(against_benign, contrasts, p)
    assert decision.finding == finding
    smallest = min(contrasts, key=lambda each: abs(each.delta), default=None)
    assert decision.deciding == smallest
    if finding in ("beyond", "less", "depends"):
        assert decide(against_benign, contrasts, 0.06).finding == "undecided", "of so many layers one is told by chance"


def test_an_opposite_sign_or_a_mere_non_significance_is_never_equivalence():
    for contrasts in ([DOWN], [UNCLEAR], [UP, DOWN], [SAME, UNCLEAR]):
        decision = decide(moved_to(0.6), contrasts, 0.5)
        assert decision.finding != "equivalent" and not decision.is_equivalent


def test_a_layer_without_responses_is_silenced():
    assert decide(UP, [UP], 0.0, Silence(1000, 501, 3)).finding == "silenced"
    assert decide(moved_to(0.4, pairs=0), [], 0.0, Silence(1000, 1000)).finding == "silenced"
    assert decide(UP, [UP], 0.0, Silence(1000, 500, 3)).finding == "beyond"


@pytest.mark.parametrize(
    ("size", "word"),
    [(0.19, "negligible"), (-0.2, "small"), (0.5, "medium"), (-0.8, "large"), (float("-inf"), "large")],
)
def test_size_words_are_cohens(size, word):
    assert size_word(size) == word


@pytest.mark.parametrize("images", [40, 400])
def test_four_of_five_runs_find_the_smallest_detectable_delta(random, images):
    tests, found = 8, 0
    typical = scipy.stats.norm.ppf((np.arange(images) + 0.5) / images)
    typical /= typical.std(ddof=1)
    known = smallest_detectable(2 * typical, [0.8 * random.permutation(typical)], tests)
    for _ in range(600):
        benign = random.normal(0, 2, images)
        moved = contrast("n", benign, benign + random.normal(2 * known, 0.8, images), benign)
        found += moved.p < 0.05 / tests
    assert 0.75 < found / 600 < 0.85
    assert math.isnan(smallest_detectable(np.ones(20), [random.normal(0, 1, 20)]))
    assert math.isnan(smallest_detectable(random.normal(0, 1, 9), [random.normal(0, 1, 9)]))


def test_classes_are_counted_by_their_own_means(random):
    labels = np.repeat([3, 1, 7, 9], [50, 50, 50, 9])
    moved = random.normal(0, 1, 159) + np.repeat([2.0, -2.0, 0.0, 5.0], [50, 50, 50, 9])
    order = random.permutation(159)
    assert scipy.stats.ttest_1samp(moved[100:150], 0).pvalue > 0.05
    assert classes_moved(moved[order], labels[order]) == (1, 1), "the last class has nine images"
    assert classes_moved(np.full(4, np.nan), np.zeros(4, np.int64)) == (0, 0)
