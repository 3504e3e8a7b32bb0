"""Intervals that hold for images in the order of their file.

Files of images are seldom in random order: neighbors share a class or a writer, so that a mean over them varies more
than independent images would say. Every standard error here is the larger of two: that of independent images, and
that of blocks of neighbors. Fewer than ten images have no interval.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST_IMAGES = 10
"""Below this many there is no interval."""

BLOCK = 50
"""Neighbors that count as one block."""

FEWEST_BLOCKS = 10
"""From so many blocks on their standard error counts; that of fewer is too uncertain itself."""

T_BELOW = 200
"""Below so many images quantiles are Student's, with one degree of freedom less; from there on normal."""


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of one value per image, and how well it is known.

    Attributes:
        images: how many have a value.
        mean: their mean; NaN of none.
        error: its standard error, the larger of that of independent images and that of blocks; NaN below ten images.
        degrees: of freedom of Student's t; infinite from 200 images on.
    """

    images: int
    mean: float
    error: float
    degrees: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Both ends of the interval at a level such as 0.95; NaN below ten images."""
        half = quantile((1 + level) / 2, self.degrees) * self.error
        return self.mean - half, self.mean + half

    @property
    def p(self) -> float:
        """Two-sided p of a mean of 0, by Student's t; 1 where every value is 0, NaN below ten images."""
        from scipy.special import ndtr, stdtr

        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        below = -abs(self.mean / self.error)
        return float(2 * (ndtr(below) if np.isinf(self.degrees) else stdtr(self.degrees, below)))


def mean_of(values: NDArray[np.floating]) -> Mean:
    """The mean over images, in the order of their file; NaN left out.

    Args:
        values: (image,).
    """
    kept = np.asarray(values, np.float64)
    kept = kept[~np.isnan(kept)]
    if kept.size == 0:
        return Mean(0, np.nan, np.nan, np.nan)
    mean = float(kept.mean())
    if kept.size < FEWEST_IMAGES:
        return Mean(kept.size, mean, np.nan, np.nan)
    return Mean(kept.size, mean, *standard_error(kept))


def standard_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """Standard error of the mean of values in the order of their file, and its degrees of freedom; the larger of two.

    That of independent images is sd / sqrt(n). That of blocks, where there are ten, comes from the means of 50
    neighbors: their variance, and twice the covariance of adjoining blocks where that is positive, over the number of
    blocks. Without it a writer whose images lie in two blocks would count as two (Newey & West 1987,
    doi:10.2307/1913610, one lag, weight 1).

    Args:
        values: (image,), none NaN.
    """
    degrees = values.size - 1.0 if values.size < T_BELOW else np.inf
    independent = float(values.std(ddof=1)) / math.sqrt(values.size)
    blocks = values.size // BLOCK
    if blocks < FEWEST_BLOCKS:
        return independent, degrees
    means = values[: blocks * BLOCK].reshape(blocks, BLOCK).mean(axis=1)
    deviations = means - means.mean()
    variance = float(np.square(deviations).sum()) / (blocks - 1)
    shared = float((deviations[1:] * deviations[:-1]).sum()) / (blocks - 1)
    of_blocks = math.sqrt((variance + 2 * max(shared, 0.0)) / blocks)
    return (of_blocks, blocks - 1.0) if of_blocks > independent else (independent, degrees)


def quantile(share: float, degrees: float) -> float:
    """Of Student's t, or of the normal distribution for infinite degrees of freedom."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(share) if np.isinf(degrees) else stdtrit(degrees, share))


def paired_auroc(values: NDArray[np.floating], reference: NDArray[np.floating]) -> tuple[float, float, float]:
    """P(value > reference), ties counted half, of two values per image, and its 95 % interval.

    The variance is that of DeLong et al. (1988, doi:10.2307/2531595) with the covariance of the pair: each image gives
    the share of references below its value plus the share of values above its reference.

    Args:
        values: (image,); NaN is left out, pair by pair.
        reference: (image,), paired with it.

    Returns:
        Area, lower and upper end, 0..1; NaN where no pair is there; ends NaN below ten pairs.
    """
    both = ~(np.isnan(values) | np.isnan(reference))
    own, other = values[both].astype(np.float64), reference[both].astype(np.float64)
    if own.size == 0:
        return np.nan, np.nan, np.nan
    above = _shares_below(own, other)
    below = 1 - _shares_below(other, own)
    area = float(above.mean())
    known = mean_of(above + below)  # Its mean is twice the area; its variance that of v10 + v01.
    low, high = (area + end - known.mean for end in known.interval())
    return area, max(low, 0.0), min(high, 1.0)


def _shares_below(values: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each value the share of the reference below it, ties counted half."""
    ordered = np.sort(reference)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    shares: NDArray[np.float64] = below / (2 * ordered.size)
    return shares
