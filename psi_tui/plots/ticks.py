"""Where an axis has its marks and what is written there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_NEAR = 0.08
"""Share of an axis that may stay empty for the sake of a round end."""

_SMALLEST, _LARGEST = 1e-100, 1e100


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis, in cells, and what is written there."""

    place: float
    label: str


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from `low` to `high`, 1, 2 or 5 times a power of ten apart, `about` as many."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((power * factor for factor in (1, 2, 5, 10)), key=lambda size: abs(math.log(size / raw)))
    first = math.ceil(low / step - 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, math.floor(high / step + 1e-9) + 1)]


def is_drawable(value: float) -> bool:
    """Whether a value has a place on an axis: not NaN, not infinite, not absurdly large."""
    return abs(value) < _LARGEST


def widened(low: float, high: float) -> tuple[float, float]:
    """The ends of an axis, moved apart where they are one, so that a single value lies in the middle."""
    around = abs(low) * 0.05 + (abs(low) < _SMALLEST)
    return (low, high) if high - low > max(abs(low), abs(high)) * 1e-9 + _SMALLEST else (low - around, high + around)


def rounded_ends(low: float, high: float, about: int) -> tuple[float, float]:
    """The ends, each moved out to the next round number where that is near: 99.9 becomes 100, 60 stays."""
    ticks = nice_ticks(low, high, about)
    if len(ticks) < 2:
        return low, high
    step, near = ticks[1] - ticks[0], (high - low) * _NEAR
    below, above = ticks[0] - step, ticks[-1] + step
    return below if low - below <= near else low, above if above - high <= near else high


def number_labels(values: Sequence[float], least: int = 0, *, is_signed: bool = False) -> list[str]:
    """The values with as many decimals as tell them apart, `least` at least.

    Args:
        values: ticks of one axis.
        least: decimals that whole numbers have too.
        is_signed: whether positive ones have a plus.
    """
    if any(value and not 1e-4 <= abs(value) < 1e6 for value in values):
        return [f"{value:.3g}" for value in values]
    decimals = next((digits for digits in range(least, 7) if all(round(v, digits) == v for v in values)), 6)
    return [f"{value:{'+' if is_signed and value else ''}.{decimals}f}" for value in values]


def end_labels(low: float, high: float) -> tuple[str, str]:
    """What is written at the two ends of an axis, with as many decimals as two digits of their distance need."""
    decimals = math.ceil(1 - math.log10(high - low) - 1e-9)
    if decimals > 6 or max(abs(low), abs(high)) >= 1e6:
        return f"{low:.4g}", f"{high:.4g}"
    return f"{low:.{max(0, decimals)}f}", f"{high:.{max(0, decimals)}f}"


def axis_width(ticks: Sequence[Tick]) -> int:
    """Columns that a y axis with these ticks takes, its line included."""
    return max(len(tick.label) for tick in ticks) + 1 if ticks else 0


def thinned(ticks: Sequence[Tick], width: int, gap: int = 2) -> list[Tick]:
    """Every tick, or every second, third ... one, so that none comes closer to the next than `gap` columns.

    Args:
        ticks: from left to right, with their labels centered under them but kept within the width.
        width: columns that the labels may take.
        gap: empty columns between two labels, at least.
    """
    for step in range(1, len(ticks) + 1):
        kept = ticks[::step]
        lefts = [max(0, min(int(tick.place) - (len(tick.label) - 1) // 2, width - len(tick.label))) for tick in kept]
        rights = [left + len(tick.label) for left, tick in zip(lefts, kept, strict=True)]
        if all(right + gap <= left for right, left in zip(rights, lefts[1:], strict=False)):
            return list(kept)
    return []
