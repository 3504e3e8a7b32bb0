"""Statistics of benign against attacked, paired by image, over arrays (condition, layer, image).

NaN marks a silent layer, or an image outside the subset; it is left out pair by pair. Nothing here warns or fails on
no image or one: what they cannot give is NaN. Histograms live in `histograms`, sentences in `verdicts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psi_core.errors import ConfigError, unknown_name
from psi_core.statistics.intervals import mean_of, paired_auroc
from psi_core.typed_names import way_out

SUBSETS: dict[str, str] = {
    "all": "every image",
    "correct": "images that the network had right before",
    "fooled": "images right before and wrong in this condition",
    "kept": "images right before and right in this condition too",
}
"""Subsets of the images by name, and what they mean. Each condition has its own; `fooled` is empty for benign."""


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
        ci_low: lower end of its 95 % interval; needs ten pairs.
        ci_high: upper end.
        median: the middle difference.
        effect_size: Cohen's d_z, mean / sd with ddof 1; 0 where all differences are 0, infinite where they are all
            the same other number; needs two pairs.
        percent_lower: share of the differences below 0.
        p: two-sided Wilcoxon signed-rank p; 1 where all differences are 0; needs two pairs.
        p_holm: the same, corrected over the layers of all conditions of its family.
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


_OLD_NAMES = {"resisted": "kept"}
"""Subsets by the names that they had once."""


def subset_named(name: str) -> str:
    """Today's name of a subset, from that or an old one.

    Raises:
        ConfigError: there is no such subset.
    """
    subset = _OLD_NAMES.get(name, name)
    if subset not in SUBSETS:
        raise ConfigError(way_out("subset", name) or unknown_name("subset", name, SUBSETS))
    return subset


def subset_mask(subset: str, correct: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which images each condition keeps, (condition, image).

    Args:
        subset: one of SUBSETS, or an old name of one.
        correct: (condition, image), whether the network was right; benign first.

    Raises:
        ConfigError: there is no such subset.
    """
    before = np.broadcast_to(correct[:1], correct.shape)
    masks = {"all": np.ones_like(correct), "correct": before, "fooled": before & ~correct, "kept": before & correct}
    return masks[subset_named(subset)]


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


def paired_statistics(differences: NDArray[np.floating], families: Sequence[str] | None = None) -> PairedStatistics:
    """What the differences of every condition and layer amount to.

    Args:
        differences: attacked minus reference, (..., layer, image); NaN where one of the two has no value.
        families: families of tests for Holm's correction, by name, one for each entry of the first axis; None makes the
            layers of each condition a family of their own.
    """
    summary = summarize(differences)
    low, high = mean_intervals(differences)
    effect = np.full(summary.mean.shape, np.nan)
    np.divide(summary.mean, summary.sd, out=effect, where=summary.sd > 0)
    is_constant = summary.sd == 0
    effect[is_constant] = np.where(summary.mean[is_constant] == 0, 0.0, np.copysign(np.inf, summary.mean[is_constant]))
    lower = percent(np.count_nonzero(differences < 0, axis=-1), summary.images)
    p = wilcoxon_p(differences)
    return PairedStatistics(
        summary.images, summary.mean, low, high, summary.median, effect, lower, p, holm(p, families)
    )


def mean_intervals(differences: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % intervals of the mean over the last axis, as `Mean.interval`; NaN left out.

    Returns:
        Lower and upper ends, each of the leading shape; NaN below ten values.
    """
    ends = np.full((2, *differences.shape[:-1]), np.nan)
    for place in np.ndindex(differences.shape[:-1]):
        ends[:, *place] = mean_of(differences[place]).interval()
    low, high = ends
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


def holm(p: NDArray[np.floating], families: Sequence[str] | None = None) -> NDArray[np.float64]:
    """p values adjusted by Holm's (1979) step-down; NaN does not count as a test.

    Args:
        p: (..., layer).
        families: by name, one for each entry of the first axis; p values are adjusted over all entries and layers of
            the same family. None adjusts over the last axis alone.
    """
    adjusted = np.full(p.shape, np.nan)
    if families is not None:
        for family in set(families):
            is_member = np.array([each == family for each in families])
            adjusted[is_member] = holm(p[is_member].ravel()).reshape(p[is_member].shape)
        return adjusted
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
    """How well a measure separates attacked from reference images: P(value > reference), ties counted half.

    Args:
        values: (image,), NaN where there is none.
        reference: (image,), of the same images.

    Returns:
        The area under the ROC curve over all values, and its 95 % interval by `paired_auroc`; NaN where one is empty.
    """
    own, other = present(values), np.sort(present(reference))
    if not (own.size and other.size):
        return float("nan"), float("nan"), float("nan")
    below = np.searchsorted(other, own, "left").sum() + np.searchsorted(other, own, "right").sum()
    area = float(below / (2 * own.size * other.size))
    middle, low, high = paired_auroc(values, reference)
    return area, max(area + low - middle, 0.0), min(area + high - middle, 1.0)


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
