"""Intervals against scipy, and their coverage: of independent images, of images in the order of a file, of few."""

import itertools

import numpy as np
import pytest
import scipy.stats

from psi_core.statistics.intervals import mean_of, paired_auroc, standard_error
from psi_core.statistics.paired import auroc


@pytest.fixture
def random():
    return np.random.default_rng(7)


@pytest.mark.parametrize("images", [10, 20, 199])
def test_below_200_images_the_interval_is_students(random, images):
    values = random.normal(1, 2, images)
    theirs = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert mean_of(values).interval(0.9) == pytest.approx((theirs.low, theirs.high))


def test_from_200_images_on_it_is_the_normal_one(random):
    values = random.normal(1, 2, 200)
    half = scipy.stats.norm.ppf(0.975) * scipy.stats.sem(values)
    assert mean_of(values).interval() == pytest.approx((values.mean() - half, values.mean() + half))


def test_below_ten_images_there_is_none(random):
    values = np.append(random.normal(1, 2, 9), np.nan)
    known = mean_of(values)
    assert (known.images, known.mean) == (9, np.nanmean(values))
    assert np.isnan(known.interval()).all()
    assert mean_of(np.full(3, np.nan)).images == 0


def test_the_error_is_the_larger_of_images_and_of_blocks() -> None:
    zigzag = np.tile([0.0, 3.0, 1.0, 4.0], 3)  # Adjoining blocks differ, so that only their variance counts.
    steps = np.repeat(zigzag, 50)
    assert standard_error(steps) == (pytest.approx(scipy.stats.sem(zigzag)), 11)
    alternating = np.tile([-1.0, 1.0], 300)
    assert standard_error(alternating) == (pytest.approx(scipy.stats.sem(alternating)), np.inf)
    nine = steps[:450]
    assert standard_error(nine) == (pytest.approx(scipy.stats.sem(nine)), np.inf), "nine blocks are too few"


def test_what_adjoining_blocks_share_counts_twice() -> None:
    pairs = np.repeat([0.0, 2.0, 1.0, 5.0, 0.0, 3.0], 2)
    deviations = pairs - pairs.mean()
    covariance = sum(one * other for one, other in itertools.pairwise(deviations)) / 11
    expected = np.sqrt((pairs.var(ddof=1) + 2 * covariance) / 12)
    assert standard_error(np.repeat(pairs, 50))[0] == pytest.approx(expected)


REPEATS = {20: 1000, 200: 1000, 2000: 400}


def allowed(repeats):
    """93 to 97 %, wider by three standard errors of the share itself."""
    error = 3 * (0.95 * 0.05 / repeats) ** 0.5
    return 0.93 - error, 0.97 + error


@pytest.mark.parametrize("images", REPEATS)
def test_intervals_hold_what_they_promise(random, images):
    held = np.zeros(2)
    for _ in range(REPEATS[images]):
        benign = random.normal(0.3, 1, images)
        attacked = benign + random.normal(0.2, 0.5, images)
        low, high = mean_of(attacked - benign).interval()
        area_low, area_high = paired_auroc(attacked, benign)[1:]
        truth = scipy.stats.norm.cdf(0.2 / (1 + 1.25) ** 0.5)
        held += low < 0.2 < high, area_low < truth < area_high
    least, most = allowed(REPEATS[images])
    assert (least < held / REPEATS[images]).all()
    assert (held / REPEATS[images] < most).all()


def in_order(random, images):
    """Normal values around 0 that share a tenth of their variance with about 50 neighbors, wherever these begin."""
    shared = np.repeat(random.normal(0, 1, -(-images // 50) + 1), 50)
    start = random.integers(50)
    return np.sqrt(0.9) * random.normal(0, 1, images) + np.sqrt(0.1) * shared[start : start + images]


@pytest.mark.parametrize("images", [1000, 2000])
def test_they_hold_for_files_whose_neighbors_are_alike(random, images):
    held = []
    for _ in range(1000):
        low, high = mean_of(in_order(random, images)).interval()
        held.append(low < 0 < high)
    least, most = allowed(1000)
    assert least < np.mean(held) < most


def test_the_paired_interval_is_the_jackknifes(random):
    benign = random.normal(0, 1, 60)
    attacked = benign + random.normal(0.1, 0.3, 60)
    area, low, high = paired_auroc(attacked, benign)
    without = [paired_auroc(np.delete(attacked, place), np.delete(benign, place))[0] for place in range(60)]
    error = (59 / 60 * np.square(np.subtract(without, np.mean(without))).sum()) ** 0.5
    t = scipy.stats.t.ppf(0.975, 59)
    assert (low, high) == pytest.approx((area - t * error, area + t * error), abs=0.003)
    assert area == pytest.approx(scipy.stats.mannwhitneyu(attacked, benign).statistic / 60**2)


def test_pairs_narrow_it(random):
    benign = random.normal(0, 1, 500)
    together = benign + random.normal(0.1, 0.05, 500)
    apart = random.permutation(together)
    narrow, wide = ((high - low) for _, low, high in (auroc(values, benign) for values in (together, apart)))
    assert wide > 5 * narrow


def test_silent_images_are_left_out_of_the_pairs_and_not_of_the_area(random):
    benign, attacked = random.normal(0, 1, 50), random.normal(0.5, 1, 50)
    benign[:5], attacked[40:] = np.nan, np.nan
    area, low, high = auroc(attacked, benign)
    statistic = scipy.stats.mannwhitneyu(attacked[~np.isnan(attacked)], benign[~np.isnan(benign)]).statistic
    assert area == pytest.approx(statistic / (40 * 45))
    assert low < area < high
