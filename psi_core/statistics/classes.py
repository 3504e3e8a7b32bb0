"""Sparseness at the level of classes and of channels, from sums over images; and correlation over classes.

PSI of a class mean itself is `statistics.population_sparseness` of it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psi_core.statistics.paired import population_sparseness

_ROUNDING = 1e-12
"""Relative to their size, how much class means differ by rounding alone: they are float64 sums divided by counts."""

NEARLY_DEAD = 0.1
"""Share of the median sd across classes of a layer's live channels below which a channel is nearly dead."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """Pearson's correlation over classes; NaN below three classes, or where either side is constant.

    Attributes:
        classes: how many have both values.
        r: the coefficient, -1..1. Over 10 classes, |r| < 0.63 is not significant.
        ci_low: lower end of its 95 % interval by Fisher's z.
        ci_high: upper end.
        p: two-sided.
    """

    classes: int
    r: float
    ci_low: float
    ci_high: float
    p: float


def liu_sparseness(
    class_means: NDArray[np.floating], reference: NDArray[np.floating] | None = None, *, drops_dead: bool = False
) -> NDArray[np.float64]:
    """Sparseness of each class after Liu, Zhen & Liu 2020 (doi:10.3389/fncom.2020.578158).

    Each channel's z-score across the classes, ddof 0, then min-max to 0..1 over the channels of each class, then PSI
    over the channels. A dead channel lies at z = 0, amid the others, and so pulls the value towards 0. Its floor
    depends on both numbers: normal noise in 1,000 classes gives 0.16 with 64 channels and 0.07 with 4,096, in 10
    classes 0.18 and 0.12.

    Args:
        class_means: (..., class, channel); a class without images is NaN, and left out of mean and sd. With a reference
            also the channel means of single images, (..., image, channel).
        reference: benign class means (class, channel), whose mean and sd across classes are applied to `class_means`,
            so that an attack cannot move its own yardstick; channels nearly dead there are left out, since any change
            is a giant z-score by so short a yardstick. None takes those of each `class_means` itself, and all channels.
        drops_dead: leave out the channels that are dead in the reference.

    Returns:
        (..., class) float64, 0..1; NaN where no channel is left or all have the same z.
    """
    sparseness = np.full(class_means.shape[:-1], np.nan)
    for place in np.ndindex(class_means.shape[:-2]):
        means = class_means[place]
        sparseness[place] = _liu(means, reference, drops_dead)
    return sparseness


def dead_channels(class_means: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which channels respond to every class alike, up to rounding: such as those that never respond.

    Args:
        class_means: (..., class, channel); a class without images is NaN.

    Returns:
        (..., channel).
    """
    mean, sd = _over_classes(class_means)
    return sd <= _ROUNDING * np.abs(mean)


def nearly_dead_channels(class_means: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which live channels hardly vary across classes: with an sd below NEARLY_DEAD of their median.

    Args:
        class_means: (..., class, channel); a class without images is NaN.

    Returns:
        (..., channel).
    """
    _, sd = _over_classes(class_means)
    is_live = ~dead_channels(class_means)
    nearly_dead = np.zeros(sd.shape, np.bool_)
    for place in np.ndindex(sd.shape[:-1]):
        live = sd[place][is_live[place]]
        if live.size:
            nearly_dead[place] = is_live[place] & (sd[place] < NEARLY_DEAD * np.median(live))
    return nearly_dead


def lifetime_sparseness(total: ArrayLike, squares: ArrayLike, images: ArrayLike) -> NDArray[np.float64]:
    """The formula of PSI for one channel over images (Vinje & Gallant 2000, doi:10.1126/science.287.5456.1273).

    Args:
        total: sum of its responses, none negative, (..., channel).
        squares: sum of their squares, likewise.
        images: how many responses were summed; anything that broadcasts, such as (..., 1).

    Returns:
        (..., channel) float64, 0..1: 1 means that one image alone excites it; NaN where it is silent, or for one image.
    """
    total, squares, images = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in (total, squares, images)))
    activity = np.full(total.shape, np.nan)
    np.divide(total**2, images * squares, out=activity, where=(squares > 0) & (images > 1))
    index: NDArray[np.float64] = np.clip((1 - activity) / (1 - 1 / np.maximum(images, 2)), 0.0, 1.0)
    return index


def correlation(x: NDArray[np.floating], y: NDArray[np.floating]) -> Correlation:
    """Pearson's correlation of two values of each class, such as PSI and accuracy; pairs with a NaN are left out."""
    from scipy.stats import pearsonr

    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    has_both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[has_both], y[has_both]
    if x.size < 3 or any(np.ptp(side) <= _ROUNDING * np.abs(side).max() for side in (x, y)):
        return Correlation(x.size, *[math.nan] * 4)
    found = pearsonr(x, y)
    interval = found.confidence_interval(0.95)
    return Correlation(x.size, float(found.statistic), float(interval.low), float(interval.high), float(found.pvalue))


def _liu(
    class_means: NDArray[np.floating], frozen: NDArray[np.floating] | None, drops_dead: bool
) -> NDArray[np.float64]:
    reference = class_means if frozen is None else frozen
    mean, sd = _over_classes(reference)
    is_dead = dead_channels(reference)
    # Dead channels have no yardstick, even where an attack wakes them: z = 0, Liu's answer to 0 / 0.
    z = np.divide(class_means - mean, sd, out=np.zeros(class_means.shape), where=~is_dead)
    is_left_out = is_dead & drops_dead
    if frozen is not None:
        is_left_out |= nearly_dead_channels(frozen)
    if drops_dead or is_left_out.any():  # A copy lies otherwise in memory, so that its sums round otherwise.
        z = z[:, ~is_left_out]
    if not z.shape[-1]:
        return np.full(len(z), np.nan)
    low, high = z.min(axis=-1, keepdims=True), z.max(axis=-1, keepdims=True)
    is_spread = high - low > _ROUNDING * np.maximum(high, -low)
    scaled = np.divide(z - low, high - low, out=np.full_like(z, np.nan), where=is_spread)
    return population_sparseness(scaled)


def _over_classes(class_means: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and sd (ddof 0) across classes, each (..., channel), NaN left out; 0 where there is no class."""
    means = np.asarray(class_means, np.float64)
    is_there = ~np.isnan(means)
    classes = np.maximum(is_there.sum(axis=-2, keepdims=True), 1)
    mean = np.where(is_there, means, 0.0).sum(axis=-2, keepdims=True) / classes
    variance = (np.where(is_there, means - mean, 0.0) ** 2).sum(axis=-2, keepdims=True) / classes
    return mean[..., 0, :], np.sqrt(variance)[..., 0, :]
