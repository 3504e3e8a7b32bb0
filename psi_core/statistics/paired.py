"""Statistics of benign against attacked, paired by image, over arrays (condition, layer, image).

NaN marks a silent layer, or an image outside the subset; it is left out pair by pair. Nothing here warns or fails on
no image or one: what they cannot give is NaN. Histograms live in `histograms`, sentences in `verdicts`.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psi_core.errors import ConfigError, unknown_name

SUBSETS: dict[str, str] = {
    "all": "every image",
    "correct": "images that the network had right before",
    "fooled": "images right before and wrong in this condition",
    "resisted": "images right before and right in this condition too",
}
"""Subsets of the images by name, and what they mean. Each condition has its own; `fooled` is empty for benign."""

DRAWS = 1000
"""Bootstrap draws behind every confidence interval of a mean."""

_Z_95 = 1.959963984540054
_MANY_ROWS = 40
_BLOCK = 1_000_000
"""Bootstrap weights held at once: 8 MB."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Values of each condition and layer summed up: float64 (condition, layer), NaN where too few.

    Attributes:
        images: how many have a value (int64).
        mean: their mean.
        sd: standard deviation, ddof 1.
        median: the middle value.
        q25: first quartile.
        q75: third quartile.
    """

    images: NDArray[np.int64]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    median: NDArray[np.float64]
    q25: NDArray[np.float64]
    q75: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shift:
    """How one layer differs between two conditions, over pairs of the same image; NaN where there are too few.

    Attributes:
        pairs: how many images have a value in both.
        mean: mean difference.
        ci_low: lower end of its 95 % bootstrap percentile interval; needs two pairs.
        ci_high: upper end.
        median: the middle difference.
        effect_size: Cohen's d_z, mean / sd with ddof 1; 0 where all differences are 0, infinite where they are all
            the same other number; needs two pairs.
        percent_lower: share of the differences below 0.
        p: two-sided Wilcoxon signed-rank p; 1 where all differences are 0; needs two pairs.
        p_holm: the same, corrected over the layers of the condition.
    """

    pairs: int
    mean: float
    ci_low: float
    ci_high: float
    median: float
    effect_size: float
    percent_lower: float
    p: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class PairedStatistics:
    """The fields of `Shift` for every condition and layer: float64 (condition, layer), `pairs` int64."""

    pairs: NDArray[np.int64]
    mean: NDArray[np.float64]
    ci_low: NDArray[np.float64]
    ci_high: NDArray[np.float64]
    median: NDArray[np.float64]
    effect_size: NDArray[np.float64]
    percent_lower: NDArray[np.float64]
    p: NDArray[np.float64]
    p_holm: NDArray[np.float64]

    def at(self, *place: int) -> Shift:
        """One condition and layer."""
        return Shift(**{field.name: getattr(self, field.name)[place].item() for field in fields(self)})


def subset_mask(subset: str, correct: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which images each condition keeps, (condition, image).

    Args:
        subset: one of SUBSETS.
        correct: (condition, image), whether the network was right; benign first.

    Raises:
        ConfigError: there is no such subset.
    """
    before = np.broadcast_to(correct[:1], correct.shape)
    masks = {"all": np.ones_like(correct), "correct": before, "fooled": before & ~correct, "resisted": before & correct}
    if subset not in masks:
        raise ConfigError(unknown_name("subset", subset, SUBSETS))
    return masks[subset]


def summarize(values: NDArray[np.floating]) -> Summary:
    """Mean, spread and quartiles over the last axis, NaN left out."""
    shape = values.shape[:-1]
    images = np.zeros(shape, np.int64)
    mean, sd, median, q25, q75 = (np.full(shape, np.nan) for _ in range(5))
    for place in np.ndindex(shape):
        kept = present(values[place])
        images[place] = kept.size
        if kept.size:
            mean[place] = kept.mean()
            q25[place], median[place], q75[place] = np.percentile(kept, (25, 50, 75))
        if kept.size > 1:
            sd[place] = kept.std(ddof=1)
    return Summary(images, mean, sd, median, q25, q75)


def paired_statistics(differences: NDArray[np.floating], *, seed: int = 0) -> PairedStatistics:
    """What the differences of every condition and layer amount to.

    Args:
        differences: attacked minus reference, (..., layer, image); NaN where one of the two has no value.
        seed: of the bootstrap.
    """
    summary = summarize(differences)
    low, high = bootstrap_intervals(differences, seed=seed)
    effect = np.full(summary.mean.shape, np.nan)
    np.divide(summary.mean, summary.sd, out=effect, where=summary.sd > 0)
    is_constant = summary.sd == 0
    effect[is_constant] = np.where(summary.mean[is_constant] == 0, 0.0, np.copysign(np.inf, summary.mean[is_constant]))
    lower = percent(np.count_nonzero(differences < 0, axis=-1), summary.images)
    p = wilcoxon_p(differences)
    return PairedStatistics(summary.images, summary.mean, low, high, summary.median, effect, lower, p, holm(p))


def bootstrap_intervals(
    differences: NDArray[np.floating], *, draws: int = DRAWS, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % percentile intervals of the mean over the last axis, NaN left out.

    One set of multinomial weights over the images serves every layer and condition, so that their intervals are
    comparable and cost one matrix product.

    Returns:
        Lower and upper ends, each of the leading shape; NaN below two values.
    """
    images = differences.shape[-1]
    rows = np.asarray(differences, np.float64).reshape(math.prod(differences.shape[:-1]), images)
    is_present = ~np.isnan(rows)
    usable = np.count_nonzero(is_present, axis=-1) >= 2
    ends = np.full((2, len(rows)), np.nan)
    if usable.any():
        weighed = is_present[usable]
        filled = np.where(weighed, rows[usable], 0.0)
        has_gaps = ~weighed.all(axis=-1)
        gapped = weighed[has_gaps].astype(np.float64)
        random = np.random.default_rng(seed)
        block = max(1, _BLOCK // images)
        means = []
        for first in range(0, draws, block):
            weights = _multinomial_weights(random, min(block, draws - first), images)
            sums = _weighed_sums(weights, filled)
            total = np.full(sums.shape, float(images))
            total[:, has_gaps] = _weighed_sums(weights, gapped)
            means.append(np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0))
        ends[:, usable] = np.nanpercentile(np.concatenate(means), (2.5, 97.5), axis=0)
    low, high = ends.reshape(2, *differences.shape[:-1])
    return low, high


def wilcoxon_p(differences: NDArray[np.floating]) -> NDArray[np.float64]:
    """Two-sided Wilcoxon signed-rank p over the last axis: 1 where all are 0, NaN below two differences.

    Differences of 0 are left out of the ranking, as Wilcoxon (1945) did.
    """
    from scipy.stats import wilcoxon

    p = np.full(differences.shape[:-1], np.nan)
    for place in np.ndindex(p.shape):
        kept = present(differences[place])
        if kept.size > 1:
            moved = kept[kept != 0]
            p[place] = wilcoxon(moved).pvalue if moved.size else 1.0
    return p


def holm(p: NDArray[np.floating]) -> NDArray[np.float64]:
    """p values adjusted over the last axis (the layers) by Holm's (1979) step-down; NaN does not count as a test."""
    adjusted = np.full(p.shape, np.nan)
    for place in np.ndindex(p.shape[:-1]):
        row = np.asarray(p[place], np.float64)
        order = np.argsort(row)[: np.count_nonzero(~np.isnan(row))]  # NaN sorts last.
        stepped = np.maximum.accumulate(row[order] * np.arange(len(order), 0, -1))
        adjusted[(*place, order)] = np.minimum(stepped, 1.0)
    return adjusted


def ks_distance(values: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Kolmogorov-Smirnov distance of two sets of values, 0..1, NaN left out; not paired.

    The distance alone: scipy's `ks_2samp` divides by zero on one value, for a p that nobody asks for here.
    """
    values, other = np.sort(present(values)), np.sort(present(other))
    if not (values.size and other.size):
        return float("nan")
    both = np.concatenate([values, other])
    shares = [np.searchsorted(each, both, "right") / each.size for each in (values, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def auroc(values: NDArray[np.floating], reference: NDArray[np.floating]) -> tuple[float, float, float]:
    """How well PSI tells attacked images from reference ones: P(value > reference), ties counted half; not paired.

    Returns:
        The area under the ROC curve and its 95 % interval by Hanley & McNeil (1982,
        doi:10.1148/radiology.143.1.7063747), which takes the two sets as independent; NaN where one is empty.
    """
    values, reference = present(values), np.sort(present(reference))
    if not (values.size and reference.size):
        return float("nan"), float("nan"), float("nan")
    below = np.searchsorted(reference, values, "left").sum() + np.searchsorted(reference, values, "right").sum()
    area = float(below / (2 * values.size * reference.size))
    excess = (values.size - 1) * (area / (2 - area) - area**2)
    excess_of_reference = (reference.size - 1) * (2 * area**2 / (1 + area) - area**2)
    variance = (area * (1 - area) + excess + excess_of_reference) / (values.size * reference.size)
    half = _Z_95 * float(np.sqrt(max(variance, 0.0)))
    return area, max(area - half, 0.0), min(area + half, 1.0)


def population_sparseness(responses: NDArray[np.floating]) -> NDArray[np.float64]:
    """PSI over the last axis, as the engine's function of the same name gives it, for numpy arrays.

    Args:
        responses: (..., units), none negative.

    Returns:
        (...) float64, 0..1; NaN where all are 0 or there is one unit.
    """
    responses = np.asarray(responses, np.float64)
    units, squares = responses.shape[-1], (responses**2).sum(axis=-1)
    activity = np.full(squares.shape, np.nan)
    if units > 1:
        np.divide(responses.sum(axis=-1) ** 2 / units, squares, out=activity, where=squares > 0)
    index: NDArray[np.float64] = np.clip((1 - activity) / (1 - 1 / max(units, 2)), 0.0, 1.0)
    return index


def present(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """The values that are there, as float64: NaN taken out."""
    kept: NDArray[np.float64] = values[~np.isnan(values)].astype(np.float64)
    return kept


def percent(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """100 x part / whole, NaN where the whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    result = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(100.0 * part, whole, out=result, where=whole > 0)
    return result


def _weighed_sums(weights: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over images of (draw, image) weights times (row, image) values, (draw, row).

    Not `@`: BLAS's threads wait seconds for each other where an engine keeps the cores busy. Many rows go image by
    image, which is three times as fast from 100 on.
    """
    if len(rows) < _MANY_ROWS:
        sums: NDArray[np.float64] = np.einsum("di,ri->dr", weights, rows)
    else:
        sums = np.einsum("di,ir->dr", weights, np.ascontiguousarray(rows.T))
    return sums


def _multinomial_weights(random: np.random.Generator, draws: int, images: int) -> NDArray[np.float64]:
    """How often each image is drawn in each of `draws` bootstrap samples, (draws, images)."""
    # Counting drawn images takes an eighth of the time of Generator.multinomial.
    drawn = random.integers(0, images, (draws, images)) + np.arange(draws)[:, None] * images
    return np.bincount(drawn.ravel(), minlength=draws * images).reshape(draws, images).astype(np.float64)
