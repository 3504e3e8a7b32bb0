"""One sentence per layer and condition: what the attack did to its sparseness."""

import math

from psi_core.conditions import Condition
from psi_core.measures import MEASURES
from psi_core.statistics.paired import Shift

MINIMUM_PAIRS = 10
"""Fewer pairs than this get no verdict."""

SIGNIFICANT = 0.05
"""Below this p, corrected over layers, a shift counts, where the interval of its mean excludes 0 too."""


def verdict(
    against_benign: Shift,
    against_control: Shift,
    control: str | None = None,
    *,
    itself: str | None = None,
    moves: tuple[str, str] = MEASURES["psi"].moves,
) -> str:
    """What happened, in plain language; the first that holds.

    - "too few images": fewer than 10 pairs, with the benign condition or with the control.
    - "no change": the difference from benign is not significant (interval around 0, or p_holm at least 0.05).
    - "no more than noise: the control itself, sparser by ..." (for a control other than noise: its name): the condition
      is the run's first control, and there is no second draw of it to be compared with.
    - "no more than noise" (for a control other than noise: its name): there is a control, and the difference from
      it is not significant, or points the other way, because the control moves the layer further than the attack does.
    - else "sparser by 0.0071 (95 % CI 0.0068..0.0074), 9 x what sign-noise@0.03 does; large effect": the mean
      difference from benign with its interval ("denser" where PSI falls); how many times the control's own shift that
      is, over the same images, or that the control does not move the layer that way; and the size of the effect
      against the control (against benign where there is none): |d_z| from 0.2 small, 0.5 medium, 0.8 large.

    Args:
        against_benign: attacked minus benign.
        against_control: attacked minus control; without pairs where there is none.
        control: the control's name, or None.
        itself: the condition's own name where it is a control, else None.
        moves: what a layer is called whose value rises, and whose value falls.
    """
    fewest = against_benign.pairs if control is None else min(against_benign.pairs, against_control.pairs)
    if fewest < MINIMUM_PAIRS:
        return "too few images"
    if not is_significant(against_benign):
        return "no change"
    change = f"{moves[0] if against_benign.mean > 0 else moves[1]} by {_mean_with_interval(against_benign)}"
    if control is None and itself is not None:
        return f"no more than {_noise_or_name(itself)}: the control itself, {change}"
    if control is None:
        return f"{change}; {effect_word(against_benign.effect_size)} effect"
    if not is_significant(against_control) or against_control.mean * against_benign.mean < 0:
        return f"no more than {_noise_or_name(control)}"
    times = _times_control(against_benign.mean, against_benign.mean - against_control.mean, control)
    return f"{change}, {times}; {effect_word(against_control.effect_size)} effect"


def is_significant(shift: Shift) -> bool:
    """Whether the interval of the mean excludes 0 and p_holm lies below 0.05; never with a NaN."""
    return shift.p_holm < SIGNIFICANT and (shift.ci_low > 0 or shift.ci_high < 0)


def effect_word(effect_size: float) -> str:
    """Cohen's word for a |d_z|: from 0.2 small, 0.5 medium, 0.8 large; below that negligible."""
    size = abs(effect_size)
    return "large" if size >= 0.8 else "medium" if size >= 0.5 else "small" if size >= 0.2 else "negligible"


def _noise_or_name(control: str) -> str:
    return "noise" if Condition.of_name(control).row.is_chance_alone else control


def _mean_with_interval(shift: Shift) -> str:
    """Sizes without signs, to about the first digit of the interval's width: more digits would be noise."""
    low, high = sorted((abs(shift.ci_low), abs(shift.ci_high)))
    width = high - low
    place = math.floor(math.log10(width)) if width > 0 else -4
    digits = min(max(-place, 2), 8) if place < 0 else max(1 - place, 0)
    return f"{abs(shift.mean):.{digits}f} (95 % CI {low:.{digits}f}..{high:.{digits}f})"


def _times_control(shift: float, control_shift: float, control: str) -> str:
    if control_shift * shift <= 0:
        return f"which {control} does not do"
    ratio = shift / control_shift
    if ratio >= 100:
        return f"over 100 x what {control} does"
    return f"{ratio:.{0 if ratio >= 3 else 1}f} x what {control} does"
