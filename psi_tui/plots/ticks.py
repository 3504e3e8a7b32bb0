"""Where an axis has its marks and what is written there.

Lines of words around a picture, and those that stand in place of one.
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text


_NEAR = 0.08
"""Share of an axis that may stay empty for the sake of a round end."""

_SMALLEST, _LARGEST = 1e-100, 1e100


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis, in cells, and what is written there."""

    place: float
    label: str


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from `low` to `high`, 1, 2 or 5 times a power of ten apart, `about` as many.

    Where several are asked for there are two at least: one number alone gives no scale.
    """
    if not high > low:
        return [low]
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    steps = sorted((power * factor for factor in (0.1, 0.2, 0.5, 1, 2, 5, 10)), reverse=True)
    nearest = min(steps, key=lambda size: abs(math.log(size / raw)))
    places = range(0)
    for step in steps[steps.index(nearest) :]:
        places = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        if len(places) >= min(2, about):
            return [float(f"{place * step:.12g}") for place in places]
    return [low, high]


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
    has_tick = [math.isclose(end, tick, abs_tol=step * 1e-9) for end, tick in ((low, ticks[0]), (high, ticks[-1]))]
    lowest = below if low - below <= near and not has_tick[0] else low
    highest = above if above - high <= near and not has_tick[1] else high
    return lowest, highest


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


def shortened(sentence: str, width: int, *, ascii_only: bool, at_start: bool = False) -> str:
    """The sentence, with an ellipsis where it is wider than `width` columns.

    Args:
        sentence: without line breaks.
        width: not below 0.
        ascii_only: whether the ellipsis is three dots, and any other letter a question mark.
        at_start: whether the start is left out, not the end: names of modules differ in their ends.
    """
    if ascii_only:
        sentence = sentence.encode("ascii", "replace").decode()
    if len(sentence) <= width:
        return sentence
    ellipsis = ("..." if ascii_only else "…")[: max(0, width)]
    rest = width - len(ellipsis)
    return ellipsis + sentence[len(sentence) - rest :] if at_start else sentence[:rest] + ellipsis


def name_line(name: str, width: int, color: str, *, ascii_only: bool) -> "Text":
    """What a part of the picture is, in its color."""
    from rich.style import Style
    from rich.text import Text

    return Text(shortened(name, width, ascii_only=ascii_only), style=Style.parse(color))


def end_line(low: str, high: str, width: int, color: str, *, ascii_only: bool) -> "Text":
    """An axis with nothing but its two ends; without them where they do not fit."""
    from rich.style import Style
    from rich.text import Text

    stroke = "-" if ascii_only else "─"
    rest = width - len(low) - len(high) - 2
    return Text(f"{low} {stroke * rest} {high}" if rest > 0 else stroke * width, style=Style.parse(color))


def centered(sentence: str, width: int, height: int) -> "Text":
    """The sentence, dim, in the middle of an empty field; as much of it as fits."""
    from rich.style import Style
    from rich.text import Text

    lines = textwrap.wrap(sentence, width)[: max(0, height)] if width > 0 else []
    above = (height - len(lines)) // 2
    return Text("\n" * above + "\n".join(line.center(width).rstrip() for line in lines), style=Style(dim=True))


def legend_lines(entries: Sequence[tuple[str, str, str]], width: int, most: int, *, ascii_only: bool) -> "list[Text]":
    """Marker and name of every series, side by side.

    Args:
        entries: marker, name and color of each.
        width: columns.
        most: lines; what does not fit into them is left out behind an ellipsis.
        ascii_only: whether the ellipsis is three dots.
    """
    from rich.style import Style
    from rich.text import Text

    gap, ellipsis = "  ", "..." if ascii_only else "…"
    lines: list[Text] = [Text()]
    for place, (marker, name, color) in enumerate(entries):
        is_last_line, is_last = len(lines) == most, place == len(entries) - 1
        entry = f"{marker} {name}"
        start = len(lines[-1]) + (len(gap) if lines[-1] else 0)
        spare = 0 if is_last or not is_last_line else len(gap) + len(ellipsis)
        if start + len(entry) + spare > width and lines[-1]:
            if is_last_line:
                lines[-1].append((gap + ellipsis)[: width - len(lines[-1])])
                break
            lines.append(Text())
        if lines[-1]:
            lines[-1].append(gap)
        lines[-1].append(shortened(entry, width, ascii_only=ascii_only), style=Style.parse(color))
    return lines
