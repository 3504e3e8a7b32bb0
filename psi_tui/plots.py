"""The only door to plotext: pictures from edges and counts, as styled text that screens and pipes both take."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

UPPER_COLOR, LOWER_COLOR = "bright_blue", "bright_yellow"
_PLOTEXT_COLORS = {UPPER_COLOR: "blue+", LOWER_COLOR: "orange+"}


def mirrored_histogram(
    edges: Sequence[float], upper: Sequence[int], lower: Sequence[int], *, width: int, height: int
) -> "Text":
    """Two histograms on shared bins, one growing up from the middle and one down.

    Args:
        edges: borders of the bins, ascending, evenly spaced, one more than there are counts.
        upper: images in each bin, drawn upwards.
        lower: likewise, drawn downwards.
        width: columns of the picture, axes included, at most.
        height: lines of the picture; an odd one is lowered by one, so that the middle falls between two lines.
    """
    import plotext
    from rich.text import Text

    highest = max(*upper, *lower, 1)
    levels = nice_ticks(0, highest, 2)
    axis = len(f"{levels[-1]:,.0f}") + 1
    half_columns = 2 * (width - axis) // len(upper)
    if half_columns:  # All bins equally wide, at the plot's resolution of half a column.
        width = axis + math.ceil(half_columns * len(upper) / 2)
    centers = [(left + right) / 2 for left, right in pairwise(edges)]
    rows = height - 2
    figure = plotext.figure
    plotext.terminal.limit(False, False)
    figure.clear()
    figure.plot_size(width, 2 + rows - rows % 2)
    figure.theme("colorless")
    figure.canvas("default")  # Leaves the terminal's own background; every theme but this paints one.
    figure.axes(False)
    figure.axes(True, axis="y", side="left")
    figure.axes(True, axis="x", side="lower")
    figure.ruler("x").lim(edges[0], edges[-1]).alignment(lim="edge")
    figure.ruler("y").lim(-highest, highest).alignment(lim="edge")
    # Off their borders by a hair: on them, plotext would round two neighbors into the same column or row.
    share = 0.98 if len(centers) > 1 else 0.98 * (edges[-1] - edges[0])
    hair = highest / (4 * rows)
    for counts, sign, color in ((upper, 1, UPPER_COLOR), (lower, -1, LOWER_COLOR)):
        marker = plotext.marker("hd", pixel=plotext.pixel(foreground=_PLOTEXT_COLORS[color]))
        bases = [sign * hair if count else 0 for count in counts]
        tops = [sign * max(count, 2 * hair) if count else 0 for count in counts]
        figure.draw(figure.bar(centers, bases, tops, marker=marker, width=share, _reset_ticks=False))
    figure.ruler("y", "left").ticks(
        [-level for level in levels[:0:-1]] + levels, [f"{level:,.0f}" for level in levels[:0:-1] + levels]
    )
    values = nice_ticks(edges[0], edges[-1], max(2, width // 16))
    decimals = _decimals(values)
    figure.ruler("x", "lower").ticks(values, [f"{value:.{decimals}f}" for value in values])
    lines = figure.build().string().splitlines()
    figure.clear()
    return Text("\n").join(Text.from_ansi(line) for line in lines)


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from `low` to `high`, 1, 2 or 5 times a power of ten apart, `about` as many."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((power * factor for factor in (1, 2, 5, 10)), key=lambda size: abs(math.log(size / raw)))
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 12) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _decimals(values: Sequence[float]) -> int:
    """Decimals that tell the values apart and read back as themselves."""
    return next((digits for digits in range(1, 7) if all(round(v, digits) == v for v in values)), 6)
