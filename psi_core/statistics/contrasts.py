"""Contrasts: how far a condition moves a layer beyond noise, in units of the benign sd between images.

Size and consistency are two things (Lakens 2013, doi:10.3389/fpsyg.2013.00863). The size is delta, a mean difference
over the benign sd between images. How alike the images move is consistency, and never called an effect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from psi_core.statistics.intervals import FEWEST_IMAGES, mean_of, quantile

EQUIVALENT = 0.1
"""Benign sd. A shift whose 90 % interval lies within it either way counts as none (TOST, Schuirmann 1987)."""

SIGNIFICANT = 0.05
"""Below this p a shift is told from 0."""

MOSTLY = 0.5
"""Above this share of silenced images a layer is silenced rather than moved."""

Finding: TypeAlias = Literal["silenced", "few", "unmatched", "beyond", "less", "equivalent", "depends", "undecided"]
"""What a layer's contrasts with noise come to, as `decide` says."""

Size: TypeAlias = Literal["negligible", "small", "medium", "large"]

SIZE_WORDS = "from 0.2 small, 0.5 medium, 0.8 large"
"""Cohen's (1988) words for a difference in sd, as every text has them."""

BEYOND_WORDS = "difference from the nearest noise, in benign sd"
"""What a shift beyond noise is."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One layer under one condition against a reference, over the images that have a value in benign and in both.

    Attributes:
        reference: name of the condition that is subtracted.
        pairs: how many such images.
        shift: mean of condition minus reference, in units of the measure; NaN without pairs.
        delta: the same in benign sd; NaN where the benign images do not differ.
        low: lower end of its 95 % interval; NaN below ten pairs.
        high: upper end.
        inner_low: lower end of its 90 % interval, that of two one-sided tests at 5 %.
        inner_high: upper end.
        p: two-sided, of a shift of 0, by the same standard error.
        same_way: share of the images that move the way of the mean, 0..1, of those that move; NaN where none does.
    """

    reference: str
    pairs: int
    shift: float
    delta: float
    low: float
    high: float
    inner_low: float
    inner_high: float
    p: float
    same_way: float

    @property
    def is_told(self) -> bool:
        """Whether the shift is told from 0, by itself."""
        return self.p < SIGNIFICANT and (self.low > 0 or self.high < 0)

    @property
    def is_equivalent(self) -> bool:
        """Whether the shift is shown to be smaller than a tenth of the benign sd."""
        return self.inner_low > -EQUIVALENT and self.inner_high < EQUIVALENT


@dataclass(frozen=True, slots=True)
class Silence:
    """Images that a condition silences in a layer.

    Attributes:
        responding: images to which the layer responds when they are benign.
        silenced: those of them to which it does not respond under the condition.
        by_noise: those of them to which it does not respond under noise; the fewest of several noises.
        images: all images, the others of which are silent when they are benign.
        woken: those of the others to which it responds under the condition.
    """

    responding: int = 0
    silenced: int = 0
    by_noise: int = 0
    images: int = 0
    woken: int = 0

    @property
    def share(self) -> float:
        """Of the responding images, the share silenced, 0..1; 0 of none."""
        return self.silenced / max(self.responding, 1)


@dataclass(frozen=True, slots=True)
class Decision:
    """What all contrasts together say of a layer under a condition.

    Attributes:
        finding: in a word.
        against_benign: contrast with the benign images.
        contrasts: contrasts with noise of the condition's size, one a noise; empty where there is none.
        p_holm: largest p of these, or that against benign where there are none, corrected over the layers of all
            conditions of its family.
        silence: images that the condition silences.
    """

    finding: Finding
    against_benign: Contrast
    contrasts: tuple[Contrast, ...]
    p_holm: float
    silence: Silence

    @property
    def deciding(self) -> Contrast | None:
        """The contrast with the noise that the condition differs from least; None where there is no noise."""
        known = [each for each in self.contrasts if not np.isnan(each.delta)] or self.contrasts
        return min(known, key=lambda each: abs(each.delta), default=None)

    @property
    def is_equivalent(self) -> bool:
        """Whether the condition is shown to lie within a tenth of the benign sd of every noise."""
        return bool(self.contrasts) and all(each.is_equivalent for each in self.contrasts)


def contrast(
    reference: str, benign: NDArray[np.floating], changed: NDArray[np.floating], subtracted: NDArray[np.floating]
) -> Contrast:
    """One layer under one condition against a reference.

    The interval of delta follows its influence function: the benign sd is itself an estimate.

    Args:
        reference: its name.
        benign: (image,), NaN where silent, in the order of the file.
        changed: under the condition, likewise.
        subtracted: under the reference, likewise.
    """
    kept = ~(np.isnan(benign) | np.isnan(changed) | np.isnan(subtracted))
    start = np.asarray(benign[kept], np.float64)
    moved = np.asarray(changed[kept], np.float64) - np.asarray(subtracted[kept], np.float64)
    raw = mean_of(moved)
    known, delta = mean_of(np.full(0, np.nan)), np.nan
    sd = float(start.std(ddof=1)) if moved.size > 1 else np.nan
    if sd > 0:
        delta = raw.mean / sd
        spread = np.square((start - start.mean()) / sd) - 1
        known = mean_of((moved - raw.mean) / sd - delta / 2 * spread)
    (low, high), (inner_low, inner_high) = known.interval(), known.interval(0.90)
    off = delta - known.mean
    up, down = int(np.count_nonzero(moved > 0)), int(np.count_nonzero(moved < 0))
    return Contrast(
        reference=reference,
        pairs=int(moved.size),
        shift=raw.mean,
        delta=delta,
        low=off + low,
        high=off + high,
        inner_low=off + inner_low,
        inner_high=off + inner_high,
        p=raw.p,
        same_way=(up if raw.mean > 0 else down) / (up + down) if up + down else np.nan,
    )


def decide(
    against_benign: Contrast, contrasts: Sequence[Contrast], p_holm: float, silence: Silence = Silence()
) -> Decision:
    """What all noises together say. The finding is the first that holds.

    - silenced: over half of the images to which the layer responds when benign have no response left;
    - few: a contrast has fewer than ten images;
    - unmatched: there is no noise of the condition's size;
    - beyond, less: every noise is told from the condition, all in one direction. `less` where the noise moves the
      layer further, the way of the condition, or where that hardly moves it;
    - equivalent: every contrast is shown to lie within a tenth of the benign sd;
    - depends: every noise is told from the condition, and two in opposite directions;
    - undecided.

    Args:
        against_benign: contrast with the benign images.
        contrasts: with each noise of its size.
        p_holm: the largest p of these, corrected over the layers of all conditions of its family.
        silence: images that the condition silences.
    """

    if silence.share > MOSTLY:
        finding: Finding = "silenced"
    elif min(each.pairs for each in (against_benign, *contrasts)) < FEWEST_IMAGES:
        finding = "few"
    elif not contrasts:
        finding = "unmatched"
    else:
        finding = _beside_noise(against_benign, contrasts, p_holm)
    return Decision(finding, against_benign, tuple(contrasts), p_holm, silence)


def _beside_noise(against_benign: Contrast, contrasts: Sequence[Contrast], p_holm: float) -> Finding:
    is_told = p_holm < SIGNIFICANT and all(each.is_told for each in contrasts)
    ways = {float(np.sign(each.shift)) for each in contrasts} if is_told else set()
    if len(ways) == 1:
        return "beyond" if float(np.sign(_own_move(against_benign, contrasts))) in ways else "less"
    if all(each.is_equivalent for each in contrasts):
        return "equivalent"
    return "depends" if ways else "undecided"


def _own_move(against_benign: Contrast, contrasts: Sequence[Contrast]) -> float:
    """How far a condition moves a layer from benign, in benign sd; 0 where the noise does and the condition hardly."""
    own = against_benign.delta
    by_noise = own - min((each.delta for each in contrasts), key=abs)
    is_hardly = against_benign.is_equivalent or not against_benign.is_told
    return 0.0 if is_hardly and abs(by_noise) > abs(own) else own


def size_word(delta: float) -> Size:
    """Cohen's (1988) word for |delta|: from 0.2 small, 0.5 medium, 0.8 large; below, negligible."""
    size = abs(delta)
    return "large" if size >= 0.8 else "medium" if size >= 0.5 else "small" if size >= 0.2 else "negligible"


def smallest_detectable(benign: NDArray[np.floating], moved: Sequence[NDArray[np.floating]], tests: int = 1) -> float:
    """The |delta| that at least four of five runs like this one would tell from every reference.

    Two-sided at 5 % over so many tests, by Bonferroni: Holm's first step. Of several references each may be missed in
    an equal part of the fifth run; as their contrasts go together, they are missed less often.

    Args:
        benign: (image,), NaN where silent.
        moved: condition minus each reference, likewise.
        tests: layers times conditions that the p values are corrected over.
    """
    start = np.asarray(benign, np.float64)[~np.isnan(benign)]
    sd = float(start.std(ddof=1)) if start.size > 1 else np.nan
    known = [mean_of(each) for each in moved]
    if not sd > 0 or any(np.isnan(each.error) for each in known):
        return np.nan
    told, found = 1 - SIGNIFICANT / (2 * max(1, tests)), 1 - 0.2 / len(known)
    return max((quantile(told, each.degrees) + quantile(found, each.degrees)) * each.error for each in known) / sd


def rank_biserial(moved: NDArray[np.floating]) -> float:
    """Matched-pairs rank-biserial correlation (Kerby 2014, doi:10.2466/11.IT.3.1), -1..1; NaN where nothing moves.

    Args:
        moved: condition minus reference, (image,), NaN left out.
    """
    from scipy.stats import rankdata

    nonzero = moved[~np.isnan(moved) & (moved != 0)]
    if nonzero.size == 0:
        return np.nan
    ranks = rankdata(np.abs(nonzero))
    return float((ranks[nonzero > 0].sum() - ranks[nonzero < 0].sum()) / ranks.sum())


def classes_moved(moved: NDArray[np.floating], labels: NDArray[np.int64]) -> tuple[int, int]:
    """How many classes move up, and how many down: those whose own mean is told from 0 at 5 %.

    Args:
        moved: condition minus reference, (image,), NaN left out.
        labels: (image,).
    """
    is_there = ~np.isnan(moved)
    order = np.argsort(labels[is_there], kind="stable")
    ordered = labels[is_there][order]
    starts = np.flatnonzero(np.diff(ordered)) + 1
    means = [mean_of(each) for each in np.split(moved[is_there][order], starts) if each.size >= FEWEST_IMAGES]
    told = [known.mean for known in means if known.p < SIGNIFICANT]
    return sum(mean > 0 for mean in told), sum(mean < 0 for mean in told)
