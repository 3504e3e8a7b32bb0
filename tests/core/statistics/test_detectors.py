"""Detectors: fitted on one half, judged on the other, against plain references; nulls, and shifts that are planted."""

import time
from dataclasses import astuple, replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from psi_core.statistics.detectors import Detection, detect_by_all_layers, detect_by_layer, split_halves


def versions(
    images: int, shifts: list[float], *, seed: int = 0, shared: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Attacked, reference (layer, image) of sd 1, and a fit half; `shared` is the correlation of an image's two."""
    random = np.random.default_rng(seed)
    common, *own = random.normal(0, 1, (3, len(shifts), images))
    attacked, reference = (np.sqrt(shared) * common + np.sqrt(1 - shared) * each for each in own)
    return attacked + np.array(shifts)[:, None], reference, split_halves(images, seed)


def every_detection(attacked: np.ndarray, reference: np.ndarray, fit_half: np.ndarray) -> list[Detection]:
    """Of each layer, then of all together."""
    alone = detect_by_layer(attacked, reference, fit_half)
    return [*alone, detect_by_all_layers(attacked, reference, fit_half)]


def judged(attacked: np.ndarray, reference: np.ndarray, fitted: np.ndarray) -> tuple[float, float, float]:
    """AUROC, TPR and TNR in percent of scores without NaN; `fitted` are the attacked scores of the fit half."""
    threshold = max(t for t in fitted if np.mean(fitted >= t) >= 0.95)
    area = scipy.stats.mannwhitneyu(attacked, reference).statistic / (attacked.size * reference.size)
    return area, 100 * np.mean(attacked >= threshold), 100 * np.mean(reference < threshold)


def newton_scores(attacked: np.ndarray, reference: np.ndarray, fit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a penalized logistic regression by Newton's method, step by step from its definition."""
    columns = []
    for values, others in zip(attacked, reference, strict=True):
        pooled = [value for each in (values[fit], others[fit]) for value in each if not np.isnan(value)]
        both = (np.append(values, others) - np.mean(pooled)) / np.std(pooled)
        columns.append(np.nan_to_num(both))
    design = np.column_stack([*columns, np.ones(2 * fit.size)])
    is_attacked, is_fitted = np.repeat([1.0, 0.0], fit.size), np.tile(fit, 2)
    rows, target = design[is_fitted], is_attacked[is_fitted]
    penalty = np.diag([1.0] * len(columns) + [0.0])
    weights = np.zeros(len(penalty))
    for _ in range(50):
        chance = 1 / (1 + np.exp(-rows @ weights))
        gradient = rows.T @ (chance - target) + penalty @ weights
        weights -= np.linalg.solve(rows.T @ (rows * (chance * (1 - chance))[:, None]) + penalty, gradient)
    scores = design @ weights
    return scores[: fit.size], scores[fit.size :]


@given(st.integers(0, 50), st.integers(0, 5))
def test_halves_differ_by_one_image_at_most_and_follow_the_seed(images: int, seed: int) -> None:
    half = split_halves(images, seed)
    assert half.shape == (images,)
    assert abs(2 * int(half.sum()) - images) <= 1
    assert np.array_equal(half, split_halves(images, seed))


def test_another_seed_is_another_split_and_none_follows_the_order() -> None:
    first, second = split_halves(1000, 1), split_halves(1000, 2)
    assert 400 < np.count_nonzero(first == second) < 600
    assert 200 < first[:500].sum() < 300
    assert 200 < first[::2].sum() < 300


@pytest.mark.parametrize("direction", [1, -1])
def test_a_layer_is_judged_as_by_hand(direction: int) -> None:
    # Of 20 attacked ones to fit on, 1..20, the threshold 2 flags 19. Held out, 2, 3, 4 of four lie there or above.
    attacked = np.array([[*range(1, 21), 1, 2, 3, 4]], np.float32)
    reference = np.array([[0] * 20 + [0, 1, 2, 5]], np.float32)
    fit_half = np.arange(24) < 20
    (detection,) = detect_by_layer(direction * attacked, direction * reference, fit_half)
    # Above 0: 4; above 1: 3 and a tie; above 2: 2 and a tie; above 5: none.
    assert detection.auroc == (4 + 3.5 + 2.5 + 0) / 16
    assert (detection.tpr_percent, detection.tnr_percent, detection.images) == (75, 50, 4)
    assert np.isnan([detection.auroc_ci_low, detection.auroc_ci_high]).all(), "four images have no interval"


def test_each_layer_equals_a_plain_reference() -> None:
    attacked, reference, fit_half = versions(301, [0.5, -0.5, 0.0])
    for layer, detection in enumerate(detect_by_layer(attacked, reference, fit_half)):
        fitted = scipy.stats.mannwhitneyu(attacked[layer, fit_half], reference[layer, fit_half]).statistic
        sign = 1 if fitted >= 151**2 / 2 else -1
        values, others = sign * attacked[layer], sign * reference[layer]
        expected = judged(values[~fit_half], others[~fit_half], values[fit_half])
        assert (detection.auroc, detection.tpr_percent, detection.tnr_percent) == pytest.approx(expected)
        assert detection.images == 150


@pytest.mark.parametrize("silent", [0.0, 0.2])
def test_all_layers_equal_newtons_logistic_regression(silent: float) -> None:
    attacked, reference, fit_half = versions(200, [0.4, -0.2, 0.0, 1.0], seed=3, shared=0.5)
    attacked[3] = 0.9 * attacked[0] + 0.1 * attacked[3]
    reference[3] = 0.9 * reference[0] + 0.1 * reference[3]
    random = np.random.default_rng(4)
    for values in (attacked, reference):
        values[:3][random.random((3, 200)) < silent] = np.nan
    values, others = newton_scores(attacked, reference, fit_half)
    expected = judged(values[~fit_half], others[~fit_half], values[fit_half])
    detection = detect_by_all_layers(attacked, reference, fit_half)
    assert (detection.auroc, detection.tpr_percent, detection.tnr_percent) == pytest.approx(expected, abs=1e-9)
    assert detection.images == 100


def test_few_skewed_images_are_fitted_as_newton_fits_them() -> None:
    fit_half = np.arange(300) < 8
    for seed in range(20):
        attacked, reference = np.random.default_rng(seed).exponential(size=(2, 3, 300)) ** 3
        values, others = newton_scores(attacked, reference, fit_half)
        area = judged(values[~fit_half], others[~fit_half], values[fit_half])[0]
        assert detect_by_all_layers(attacked, reference, fit_half).auroc == pytest.approx(area, abs=2e-5)


def test_a_direction_that_does_not_hold_is_held_against_the_detector() -> None:
    attacked, reference, fit_half = versions(40, [5.0, 5.0])
    attacked[:, ~fit_half] -= 10
    for detection in every_detection(attacked, reference, fit_half):
        assert detection.auroc < 0.05
        assert detection.tpr_percent == 0


def test_held_out_images_change_neither_direction_nor_threshold() -> None:
    attacked, reference, fit_half = versions(100, [0.3, -0.6])
    others = np.where(fit_half, reference, reference - 7)
    before, after = every_detection(attacked, reference, fit_half), every_detection(attacked, others, fit_half)
    for one, other in zip(before, after, strict=True):
        assert one.tpr_percent == other.tpr_percent
        assert one.auroc != other.auroc


@pytest.mark.parametrize(
    "rescale", [np.exp, lambda x: 3 * x - 1, lambda x: -np.arctan(x)], ids=["exp", "3x-1", "-atan"]
)
def test_monotone_rescaling_leaves_a_layers_detection(rescale) -> None:
    attacked, reference, fit_half = versions(120, [0.5, -0.5])
    rescaled = detect_by_layer(rescale(attacked), rescale(reference), fit_half)
    assert rescaled == detect_by_layer(attacked, reference, fit_half)


def test_order_and_unit_of_the_layers_leave_their_joint_detection() -> None:
    attacked, reference, fit_half = versions(300, [0.5, -0.3, 0.1, 0.0], shared=0.3)
    expected = astuple(detect_by_all_layers(attacked, reference, fit_half))
    order = [2, 0, 3, 1]
    assert astuple(detect_by_all_layers(attacked[order], reference[order], fit_half)) == pytest.approx(expected)
    scale, offset = np.array([[1e-3, 100, -1, 5], [7, 0, 3, -1]])[..., None]
    moved = detect_by_all_layers(scale * attacked + offset, scale * reference + offset, fit_half)
    assert astuple(moved) == pytest.approx(expected)


def test_constant_and_silent_layers_say_nothing() -> None:
    attacked, reference, fit_half = versions(80, [0.5, 0.2])
    expected = detect_by_all_layers(attacked, reference, fit_half)
    almost = np.where(fit_half, 0.1, attacked[0])  # numpy's sd of 0.1 and 0.1 and 0.1 is not quite 0.
    idle = np.stack([np.full(80, 0.5), almost, np.full(80, np.nan)])
    assert detect_by_all_layers(np.vstack([idle, attacked]), np.vstack([idle, reference]), fit_half) == expected
    alone = detect_by_all_layers(idle, idle, fit_half)
    assert (alone.auroc, alone.tpr_percent, alone.tnr_percent, alone.images) == (0.5, 100, 0, 40)


def test_images_without_a_value_in_both_versions_are_left_out() -> None:
    attacked, reference, fit_half = versions(60, [1.0, 0.5])
    first, second, *_ = np.flatnonzero(~fit_half)
    attacked[0, first] = reference[1, second] = np.nan
    one, two = detect_by_layer(attacked, reference, fit_half)
    assert (one.images, two.images, detect_by_all_layers(attacked, reference, fit_half).images) == (29, 29, 30)
    is_counted = np.arange(60) != first
    assert one == detect_by_layer(attacked[:1, is_counted], reference[:1, is_counted], fit_half[is_counted])[0]
    attacked[:, first] = np.nan
    without = detect_by_all_layers(attacked[:, is_counted], reference[:, is_counted], fit_half[is_counted])
    assert detect_by_all_layers(attacked, reference, fit_half) == without
    assert without.images == 29


def test_the_same_images_are_never_told_apart() -> None:
    psi = np.random.default_rng(0).random((4, 1001)).astype(np.float32)
    psi[0, 7] = np.nan
    fit_half = split_halves(1001, 0)
    for detection in every_detection(psi, psi, fit_half):
        assert detection.auroc == 0.5
        assert detection.tpr_percent + detection.tnr_percent == pytest.approx(100)


def test_perfect_separation_is_found_and_bounded() -> None:
    attacked, reference, fit_half = versions(200, [0.0, 50.0, 0.0])
    for detection in (
        detect_by_layer(attacked, reference, fit_half)[1],
        detect_by_all_layers(attacked, reference, fit_half),
    ):
        assert (detection.auroc, detection.auroc_ci_low, detection.auroc_ci_high) == (1, 1, 1)
        assert detection.tnr_percent == 100
        assert 85 <= detection.tpr_percent <= 100


@pytest.mark.parametrize("images", [0, 1])
def test_too_few_images_give_nan(images: int) -> None:
    attacked, reference, _ = versions(images, [1.0, 1.0])
    for fit_half in (np.ones(images, bool), np.zeros(images, bool)):
        for detection in every_detection(attacked, reference, fit_half):
            assert np.isnan(astuple(detection)[:-1]).all()
            assert detection.images == np.count_nonzero(~fit_half)


def test_two_images_and_no_layer_or_silent_ones_are_answered() -> None:
    fit_half = np.array([True, False])
    two = np.array([[0.3, 0.4]])
    alone = detect_by_layer(two + 0.2, two, fit_half)[0]
    assert replace(alone, auroc_ci_low=1, auroc_ci_high=1) == Detection(1, 1, 1, 100, 100, 1)
    assert detect_by_all_layers(two + 0.2, two, fit_half).images == 1
    silent = np.full((3, 2), np.nan)
    assert detect_by_layer(silent[:0], silent[:0], fit_half) == []
    for nothing in (
        detect_by_layer(silent, silent, fit_half)[2],
        *(detect_by_all_layers(silent[:n], silent[:n], fit_half) for n in (0, 3)),
    ):
        assert np.isnan(astuple(nothing)[:-1]).all()
        assert nothing.images == 0


def test_two_weak_layers_detect_more_together() -> None:
    # Shifted by 0.36 sd, a layer alone reaches Phi(0.36 / sqrt 2) = 0.60; two that err apart, Phi(0.36) = 0.64.
    attacked, reference, fit_half = versions(6000, [0.36, -0.36, 0.0], seed=1)
    up, down, idle = detect_by_layer(attacked, reference, fit_half)
    together = detect_by_all_layers(attacked, reference, fit_half)
    assert up.auroc == pytest.approx(0.60, abs=0.02)
    assert down.auroc == pytest.approx(0.60, abs=0.02)
    assert idle.auroc == pytest.approx(0.50, abs=0.02)
    assert together.auroc == pytest.approx(0.64, abs=0.02)
    assert together.auroc_ci_low > max(up.auroc, down.auroc)
    assert together.tpr_percent == pytest.approx(95, abs=1.5)
    expected = 100 * scipy.stats.norm.cdf(scipy.stats.norm.ppf(0.05) + 0.36 * np.sqrt(2))
    assert together.tnr_percent == pytest.approx(expected, abs=2.5)


@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_nulls_stay_null(shared: float) -> None:
    """Without any shift the held-out AUROC is 0.5 on average, and its interval holds 0.5 as often as it promises."""
    alone, together = [], []
    for seed in range(200):
        attacked, reference, fit_half = versions(160, [0.0, 0.0, 0.0], seed=seed, shared=shared)
        alone += detect_by_layer(attacked, reference, fit_half)
        together.append(detect_by_all_layers(attacked, reference, fit_half))
    for detections in (alone, together):
        assert np.mean([each.auroc for each in detections]) == pytest.approx(0.5, abs=0.01)
        assert np.mean([each.auroc_ci_low <= 0.5 <= each.auroc_ci_high for each in detections]) >= 0.92
        assert np.mean([each.tpr_percent + each.tnr_percent for each in detections]) == pytest.approx(100, abs=1)


def test_ten_thousand_images_take_a_moment() -> None:
    attacked, reference, fit_half = versions(10_000, [0.05 * layer for layer in range(10)], shared=0.9)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        detect_by_all_layers(attacked, reference, fit_half)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.2
