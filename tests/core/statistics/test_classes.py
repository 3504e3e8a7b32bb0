"""Class level: the exact vectors and facts it stands on, its invariances, and scipy's correlation."""

from dataclasses import astuple

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from psi_core.statistics.classes import (
    correlation,
    dead_channels,
    lifetime_sparseness,
    liu_sparseness,
    nearly_dead_channels,
)
from psi_core.statistics.paired import population_sparseness

CLASS_MEANS = np.array([[3, 1, 5, 0], [1, 2, 4, 0]])
IMAGES = np.array([[4, 0, 0, 1], [3, 1, 0, 0], [0, 0, 2, 1]])
RESPONSES = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 9).map(float))
NAN = float("nan")


@pytest.fixture(scope="module")
def means() -> np.ndarray:
    """(10 classes, 40 channels), channel 3 silent and channel 5 alike for all classes."""
    means = np.random.default_rng(0).exponential(size=(10, 40))
    means[:, 3], means[:, 5] = 0, 0.7
    return means


def plain_liu(means: np.ndarray, reference: np.ndarray) -> list[float]:
    """Liu's measure, number by number."""
    rows = []
    for row in means:
        z = []
        for value, channel in zip(row, reference.T, strict=True):
            mean = sum(channel) / len(channel)
            sd = (sum((each - mean) ** 2 for each in channel) / len(channel)) ** 0.5
            z.append((value - mean) / sd if sd > 1e-9 else 0.0)
        scaled = [(each - min(z)) / (max(z) - min(z)) for each in z]
        activity = sum(scaled) ** 2 / len(scaled) / sum(each**2 for each in scaled)
        rows.append((1 - activity) / (1 - 1 / len(scaled)))
    return rows


def test_liu_of_the_worked_example() -> None:
    assert liu_sparseness(CLASS_MEANS) == pytest.approx([11 / 27, 11 / 15], abs=1e-15)
    assert liu_sparseness(CLASS_MEANS, drops_dead=True) == pytest.approx([1 / 2, 1], abs=1e-15)
    assert dead_channels(CLASS_MEANS).tolist() == [False, False, False, True]


def test_liu_equals_a_plain_reference(means: np.ndarray) -> None:
    attacked = np.random.default_rng(1).exponential(size=(10, 40))
    assert liu_sparseness(means) == pytest.approx(plain_liu(means, means))
    assert liu_sparseness(attacked, means) == pytest.approx(plain_liu(attacked, means))
    alive = np.delete(np.arange(40), [3, 5])
    expected = plain_liu(attacked[:, alive], means[:, alive])
    assert liu_sparseness(attacked, means, drops_dead=True) == pytest.approx(expected)


def test_single_images_by_the_yardstick_of_class_means() -> None:
    """The example's means are 2, 1.5, 4.5, 0, its sds 1, .5, .5, 0; the image's z 1, 3, -1, 0, scaled .5, 1, 0, .25."""
    image = np.array([[3.0, 3, 4, 9]])
    assert liu_sparseness(image, CLASS_MEANS) == pytest.approx([(1 - 1.75**2 / 4 / 1.3125) / (3 / 4)], abs=1e-15)
    assert liu_sparseness(image, CLASS_MEANS, drops_dead=True) == pytest.approx([(1 - 1.5**2 / 3 / 1.25) / (2 / 3)])


def test_images_that_are_their_classs_mean_have_its_value(means: np.ndarray) -> None:
    labels = np.random.default_rng(2).integers(0, 10, 70)
    for drops_dead in (False, True):
        of_classes = liu_sparseness(means, means, drops_dead=drops_dead)
        assert liu_sparseness(means[labels], means, drops_dead=drops_dead) == pytest.approx(of_classes[labels])


def test_a_frozen_reference_without_an_attack_is_separate(means: np.ndarray) -> None:
    for drops_dead in (False, True):
        frozen = liu_sparseness(means, means, drops_dead=drops_dead)
        assert np.array_equal(frozen, liu_sparseness(means, drops_dead=drops_dead))


def test_a_frozen_reference_sees_what_separate_ones_cannot(means: np.ndarray) -> None:
    moved = means * np.random.default_rng(2).uniform(0.5, 2, 40)
    assert liu_sparseness(moved) == pytest.approx(liu_sparseness(means))
    assert np.abs(liu_sparseness(moved, means) - liu_sparseness(means)).max() > 0.05


def test_conditions_are_answered_one_by_one(means: np.ndarray) -> None:
    attacked = means[::-1] + np.eye(10, 40)
    attacked[:, 7] = 0.3
    both = np.stack([means, attacked])[None]
    for drops_dead in (False, True):
        separate, frozen = (liu_sparseness(both, each, drops_dead=drops_dead) for each in (None, means))
        assert separate.shape == frozen.shape == (1, 2, 10)
        assert np.array_equal(separate[0, 1], liu_sparseness(attacked, drops_dead=drops_dead))
        assert np.array_equal(frozen[0, 1], liu_sparseness(attacked, means, drops_dead=drops_dead))
    assert np.array_equal(dead_channels(both)[0], [dead_channels(means), dead_channels(attacked)])


def test_scale_and_order_of_classes_and_channels_do_not_matter(means: np.ndarray) -> None:
    random = np.random.default_rng(3)
    expected = liu_sparseness(means)
    for scale in (1e-6, 1e6, random.uniform(0.1, 10, 40)):
        assert liu_sparseness(scale * means) == pytest.approx(expected)
        assert liu_sparseness(scale * means, drops_dead=True) == pytest.approx(liu_sparseness(means, drops_dead=True))
    channels, classes = random.permutation(40), random.permutation(10)
    assert liu_sparseness(means[:, channels]) == pytest.approx(expected)
    assert liu_sparseness(means[classes]) == pytest.approx(expected[classes])
    assert dead_channels(means[:, channels]).tolist() == np.isin(channels, [3, 5]).tolist()


@given(RESPONSES)
def test_liu_lies_between_0_and_1_or_says_nan(means: np.ndarray) -> None:
    alive = means[:, np.ptp(means, axis=0) > 0]
    assert np.array_equal(liu_sparseness(means, drops_dead=True), liu_sparseness(alive), equal_nan=True)
    sparseness = liu_sparseness(means)
    assert sparseness.shape == means.shape[:1]
    assert ((sparseness >= 0) & (sparseness <= 1) | np.isnan(sparseness)).all()


def test_channels_equal_up_to_rounding_are_dead() -> None:
    # 0.1 summed over 3, 7 and 11 images, divided by their number, is not quite the same three times.
    rounded = np.array([sum([0.1] * images) / images for images in (3, 7, 11)])
    assert np.ptp(rounded) > 0
    means = np.column_stack([rounded, 1e-30 * np.arange(3), rounded * (1 + 1e-9 * np.arange(3))])
    assert dead_channels(means).tolist() == [True, False, False]
    assert liu_sparseness(np.column_stack([rounded, [1, 2, 3]]))[1:] == pytest.approx([NAN, 1], nan_ok=True)


def test_a_channel_that_only_an_attack_wakes_stays_amid_the_others() -> None:
    woken = CLASS_MEANS + np.array([0, 0, 0, 9])
    assert np.array_equal(liu_sparseness(woken, CLASS_MEANS), liu_sparseness(CLASS_MEANS))
    assert np.array_equal(
        liu_sparseness(woken, CLASS_MEANS, drops_dead=True), liu_sparseness(CLASS_MEANS, drops_dead=True)
    )


def faint(means: np.ndarray, share: float) -> np.ndarray:
    """The same, channel 9 with an sd of so much of the live channels' median."""
    sd = means.std(axis=0)
    changed = means.copy()
    changed[:, 9] *= share * np.median(np.delete(sd, [3, 5])) / sd[9]
    return changed


def test_a_channel_nearly_dead_when_benign_does_not_dominate_a_frozen_reference(means: np.ndarray) -> None:
    benign = faint(means, 1e-7)
    attacked = benign.copy()
    attacked[:, 9] += np.linspace(0.1, 0.5, 10)  # By a millionfold of its sd.
    assert nearly_dead_channels(benign).nonzero()[0].tolist() == [9]
    others = np.arange(40) != 9
    for drops_dead in (False, True):
        frozen = liu_sparseness(attacked, benign, drops_dead=drops_dead)
        expected = liu_sparseness(attacked[:, others], benign[:, others], drops_dead=drops_dead)
        assert frozen == pytest.approx(expected)
        assert frozen.max() < 0.9
    assert min(plain_liu(attacked, benign)) > 0.99, "what it would have been"
    separate = liu_sparseness(attacked)
    assert separate == pytest.approx(plain_liu(attacked, attacked)), "with its own sd no channel is left out"


def test_a_tenth_of_the_live_channels_median_divides(means: np.ndarray) -> None:
    sd = means.std(axis=0)
    for share, is_left_out in ((0.09, True), (0.11, False)):
        changed = faint(means, share)
        live = np.delete(changed.std(axis=0), [3, 5])
        assert (changed.std(axis=0)[9] < 0.1 * np.median(live)) == is_left_out
        assert nearly_dead_channels(changed)[9] == is_left_out
        order = np.random.default_rng(6).permutation(40)
        assert np.array_equal(nearly_dead_channels(1e-6 * changed[:, order]), nearly_dead_channels(changed)[order])
    assert not nearly_dead_channels(means)[sd == 0].any(), "dead ones are counted as such"
    assert np.array_equal(nearly_dead_channels(np.insert(faint(means, 0.01), 4, NAN, axis=0)), np.arange(40) == 9)
    both = np.stack([means, faint(means, 0.01)])
    assert nearly_dead_channels(both).sum(axis=1).tolist() == [0, 1]
    for nothing in (np.zeros((3, 4)), np.zeros((3, 0)), np.full((3, 4), NAN), np.zeros((0, 5))):
        assert not nearly_dead_channels(nothing).any()


@pytest.mark.parametrize("drops_dead", [False, True])
@pytest.mark.parametrize(
    "means",
    [
        np.zeros((3, 4)),
        np.ones((3, 4)),
        np.arange(3.0)[:, None],
        np.arange(4.0)[None],
        np.outer([1.0, 2.0, 5.0], [1.0, 3.0, 0.1]),
        np.zeros((3, 0)),
        np.full((3, 4), NAN),
    ],
    ids=["silent", "alike", "one channel", "one class", "proportional channels", "no channel", "no image"],
)
def test_nothing_to_compare_is_nan(means: np.ndarray, drops_dead: bool) -> None:
    assert np.isnan(liu_sparseness(means, drops_dead=drops_dead)).all()
    assert liu_sparseness(means, drops_dead=drops_dead).shape == means.shape[:1]


def test_no_class_gives_nothing() -> None:
    assert liu_sparseness(np.zeros((2, 0, 5))).shape == (2, 0)
    assert dead_channels(np.zeros((0, 5))).all()


def test_a_class_without_images_is_nan_and_leaves_the_others(means: np.ndarray) -> None:
    gap = np.insert(means, 4, NAN, axis=0)
    others = np.arange(11) != 4
    for reference in (None, gap):
        sparseness = liu_sparseness(gap, reference)
        assert np.isnan(sparseness[4])
        assert sparseness[others] == pytest.approx(liu_sparseness(means))
    assert dead_channels(gap).tolist() == dead_channels(means).tolist()


def test_dead_channels_hide_how_sparse_a_layer_is() -> None:
    means = np.random.default_rng(4).exponential(size=(10, 4096))
    means[:, : round(0.9 * 4096)] = 0
    assert population_sparseness(means).mean() == pytest.approx(0.95, abs=0.005)
    assert liu_sparseness(means).mean() == pytest.approx(0.03, abs=0.005)
    assert liu_sparseness(means, drops_dead=True).mean() > 0.15


@pytest.mark.parametrize(
    ("classes", "channels", "floor"), [(1000, 64, 0.161), (1000, 4096, 0.072), (10, 64, 0.185), (10, 4096, 0.120)]
)
def test_noise_has_a_floor_that_depends_on_classes_and_channels(classes: int, channels: int, floor: float) -> None:
    noise = np.random.default_rng(5).normal(10, 1, (100 // (classes // 10) if channels == 64 else 1, classes, channels))
    assert liu_sparseness(noise).mean() == pytest.approx(floor, abs=0.004)


def test_lifetime_of_the_worked_example() -> None:
    lifetime = lifetime_sparseness(IMAGES.sum(axis=0), (IMAGES**2).sum(axis=0), 3)
    assert lifetime == pytest.approx([13 / 25, 1, 1, 1 / 2], abs=1e-15)


@pytest.mark.parametrize(
    ("responses", "expected"),
    [
        ([1, 0, 0, 0], 1),
        ([1, 1, 1, 1], 0),
        ([1, 1, 0, 0], 2 / 3),
        ([1, 2, 3, 4], 2 / 9),
        ([2.24, 3.6, 0.8, 2.4, 3.52, 5.68, 8.96, 0], 7104 / 16331),
        ([0, 0, 0], NAN),
        ([5], NAN),
    ],
)
def test_lifetime_of_known_responses(responses: list[float], expected: float) -> None:
    values = np.array(responses)
    lifetime = lifetime_sparseness(values.sum(), (values**2).sum(), values.size)
    assert lifetime == pytest.approx(expected, abs=1e-15, nan_ok=True)


@given(arrays(np.float64, st.tuples(st.integers(0, 5), st.integers(1, 4)), elements=st.integers(0, 9).map(float)))
def test_lifetime_is_the_sparseness_over_images(responses: np.ndarray) -> None:
    sums, squares = responses.sum(axis=0), (responses**2).sum(axis=0)
    lifetime = lifetime_sparseness(sums, squares, len(responses))
    expected = population_sparseness(responses.T) if responses.size else np.full(sums.shape, NAN)
    assert lifetime == pytest.approx(expected, nan_ok=True, abs=1e-12)
    assert lifetime_sparseness(3 * sums, 9 * squares, len(responses)) == pytest.approx(lifetime, nan_ok=True, abs=1e-12)


def test_each_condition_may_have_its_own_number_of_images() -> None:
    total, squares = np.array([[2, 4], [2, 4]]), np.array([[4, 8], [4, 8]])
    lifetime = lifetime_sparseness(total, squares, np.array([[2], [4]]))
    assert lifetime == pytest.approx(np.array([[1, 0], [1, 2 / 3]]))


def test_correlation_is_scipys_without_the_gaps() -> None:
    random = np.random.default_rng(6)
    x = random.random(12)
    y = x + random.normal(0, 0.3, 12)
    theirs = scipy.stats.pearsonr(x, y)
    interval = theirs.confidence_interval()
    ours = correlation(np.append(x, [NAN, 0.5]), np.append(y, [0.5, NAN]))
    assert astuple(ours) == (12, theirs.statistic, interval.low, interval.high, theirs.pvalue)
    half = scipy.stats.norm.ppf(0.975) / np.sqrt(12 - 3)
    assert (ours.ci_low, ours.ci_high) == pytest.approx(tuple(np.tanh(np.arctanh(ours.r) + half * np.array([-1, 1]))))


def test_over_ten_classes_a_correlation_below_063_is_not_significant() -> None:
    x = np.arange(10.0) - 4.5
    other = np.array([1.0, -1, -1, 1, 0, 0, 1, -1, -1, 1])  # At a right angle to x and to a constant.
    other -= x * (x @ other) / (x @ x)
    for r, is_significant in ((0.62, False), (0.64, True)):
        found = correlation(x, r * x / np.linalg.norm(x) + np.sqrt(1 - r**2) * other / np.linalg.norm(other))
        assert found.r == pytest.approx(r)
        assert (found.p < 0.05) == is_significant
        assert (found.ci_low > 0) == is_significant


@pytest.mark.parametrize("sign", [1, -1])
def test_a_straight_line_correlates_fully(sign: int) -> None:
    x = np.array([1.0, 2.0, 4.0, 5.0])
    found = correlation(x, sign * 2 * x + 1)
    assert (found.classes, found.r) == (4, pytest.approx(sign))
    assert (found.ci_low, found.ci_high) == pytest.approx((sign, sign), abs=1e-6)
    assert found.p == pytest.approx(0, abs=1e-6)


def test_three_classes_have_an_interval_that_excludes_nothing() -> None:
    found = correlation(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0]))
    assert (found.classes, found.ci_low, found.ci_high) == (3, -1, 1)


@pytest.mark.parametrize(
    ("x", "y", "classes"),
    [
        ([], [], 0),
        ([0.1, 0.2], [0.2, 0.1], 2),
        ([0.1, NAN, 0.3, NAN], [0.1, 0.2, 0.3, 0.4], 2),
        ([0.5, 0.5, 0.5], [0.1, 0.2, 0.3], 3),
        ([0.1, 0.2, 0.3, 0.9], [100.0, 100.0, 100.0, NAN], 3),
        ([0.1, 0.2, 0.3], [0.5, 0.5, 0.5 + 1e-16], 3),
        ([0.3, 0.1 + 0.2, 0.3], [0.1, 0.2, 0.3], 3),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 3),
    ],
)
def test_too_few_or_constant_values_do_not_correlate(x: list[float], y: list[float], classes: int) -> None:
    found = correlation(np.array(x), np.array(y))
    assert found.classes == classes
    assert np.isnan([found.r, found.ci_low, found.ci_high, found.p]).all()
