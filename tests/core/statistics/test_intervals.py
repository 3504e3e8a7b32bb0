"""Intervals against scipy, and their coverage: of independent images, of images in the order of a file, of few."""

import numpy as np
import pytest
import scipy.stats

from psi_core.statistics.intervals import BLOCK, FEWEST_BLOCKS, mean_of, paired_auroc, standard_error
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


def test_neighbors_that_are_alike_widen_it(random):
    steps = np.repeat(random.normal(0, 1, FEWEST_BLOCKS), BLOCK)
    values = steps + random.normal(0, 0.1, steps.size)
    means = values.reshape(-1, BLOCK).mean(axis=1)
    assert standard_error(values) == pytest.approx(scipy.stats.sem(means))
    assert standard_error(values) > 5 * scipy.stats.sem(values)
    assert standard_error(values[:-1]) == pytest.approx(scipy.stats.sem(values[:-1])), "one block fewer is too few"


def test_it_is_never_narrower_than_independent_images_give(random):
    alternating = np.tile([-1.0, 1.0], 500) + random.normal(0, 0.01, 1000)
    assert standard_error(alternating) == pytest.approx(scipy.stats.sem(alternating))


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


def test_they_hold_for_files_whose_neighbors_are_alike(random):
    held = 0
    for _ in range(200):
        shared = np.repeat(random.normal(0, 0.3, 80), 25)
        low, high = mean_of(shared + random.normal(0, 1, shared.size)).interval()
        held += low < 0 < high
    assert held / 200 > 0.9


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
