"""How mirrored histograms are drawn: one growing up from the middle, one down, at half a line's height.

A histogram that is alone grows up from the lower border.
"""

import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from psi_tui.plots.canvas import Canvas, open_canvas
from psi_tui.plots.cursor import Stops
from psi_tui.plots.figures import MirroredHistogram, Palette
from psi_tui.plots.ticks import (
    Tick,
    axis_width,
    end_labels,
    end_line,
    name_line,
    nice_ticks,
    number_labels,
    thinned,
    widened,
)

if TYPE_CHECKING:
    from rich.text import Text

NAMED_HEIGHT = 10
"""Lines from which on a histogram says itself what is above and what below."""

_LEAST_HALF, _LEAST_COLUMNS = 2, 8
_UP, _DOWN = 1, 2


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a histogram's parts lie.

    Attributes:
        has_names: whether it says itself what is above and what below.
        half: lines of one side.
        below: lines of the lower one.
        highest: images that fill a side.
        y_ticks: of the vertical axis.
        pixels: in a cell, across and upwards.
        across: pixels of all bins together.
    """

    has_names: bool
    half: int
    below: int
    highest: int
    y_ticks: list[Tick]
    pixels: int
    across: int

    @property
    def columns(self) -> int:
        """Cells of all bins together."""
        return math.ceil(self.across / self.pixels)


def _layout(figure: MirroredHistogram, width: int, height: int, *, ascii_only: bool) -> _Layout | None:
    """None where it does not fit."""
    has_names = height >= NAMED_HEIGHT and bool(figure.upper_name or figure.lower_name)
    sides = 2 if figure.lower else 1
    half = (height - 2 - sides * has_names) // sides
    below = half if figure.lower else 0
    highest = max(*figure.upper, *figure.lower, 1)
    levels = [level for level in nice_ticks(0, highest, 2 if half > 4 else 1) if level == round(level)]
    numbers = [f"{level:,.0f}" for level in levels]
    heights = [half * level / highest for level in levels]
    y_ticks = [Tick(below + place, number) for place, number in zip(heights, numbers, strict=True)]
    if figure.lower:
        downwards = zip(heights[:0:-1], numbers[:0:-1], strict=True)
        y_ticks[:0] = [Tick(below - place, number) for place, number in downwards]
    columns = width - axis_width(y_ticks)
    if half < _LEAST_HALF or columns < _LEAST_COLUMNS:
        return None
    pixels = 1 if ascii_only else 2
    per_bin = pixels * columns // len(figure.upper)
    across = per_bin * len(figure.upper) or pixels * columns  # All bins equally wide, where there is room for that.
    return _Layout(has_names, half, below, highest, y_ticks, pixels, across)


def histogram_stops(figure: MirroredHistogram, width: int, height: int, *, ascii_only: bool) -> Stops | None:
    """Every bin, and how many images of either side it holds; None where the picture has no axes."""
    layout = _layout(figure, width, height, ascii_only=ascii_only)
    if layout is None:
        return None
    left, bins = axis_width(layout.y_ticks), len(figure.upper)
    span = figure.edges[1] - figure.edges[0]
    edges = [end_labels(edge, edge + span)[0] for edge in figure.edges]
    names = [name.partition(",")[0] for name in (figure.upper_name, figure.lower_name)]
    sides = [(names[0] or "up", figure.upper), (names[1] or "down", figure.lower)][: 2 if figure.lower else 1]
    columns = tuple(left + (2 * place + 1) * layout.across // (2 * layout.pixels * bins) for place in range(bins))
    readings = tuple(
        (f"{edges[place]}..{edges[place + 1]}: " + ", ".join(f"{name} {counts[place]:,}" for name, counts in sides),)
        for place in range(bins)
    )
    return Stops(int(layout.has_names), layout.half + layout.below, columns, readings)


def draw_histogram(
    figure: MirroredHistogram, width: int, height: int, palette: Palette, *, ascii_only: bool
) -> "Text | None":
    """The picture with both axes, and from 10 lines on with what is above and below; None where it does not fit."""
    from rich.text import Text

    layout = _layout(figure, width, height, ascii_only=ascii_only)
    if layout is None:
        return None
    columns, pixels, across, y_ticks = layout.columns, layout.pixels, layout.across, layout.y_ticks
    low, high = widened(figure.edges[0], figure.edges[-1])
    values = nice_ticks(low, high, max(2, min(5, columns // 9), columns // 16))
    x_ticks = [
        Tick(min((value - low) / (high - low) * across / pixels, columns - 0.5), label)
        for value, label in zip(values, number_labels(values, 1), strict=True)
    ]
    x_ticks = thinned(x_ticks, columns)
    rows = layout.below + layout.half
    with open_canvas(columns, rows, x_ticks=x_ticks, y_ticks=y_ticks, ascii_only=ascii_only) as canvas:
        _draw_halves(canvas, figure, across, layout.half, layout.highest, pixels)
        picture = canvas.text((palette.muted, palette.benign, palette.attacked))
    if not layout.has_names:
        return picture
    if not figure.lower:
        return Text("\n").join([name_line(figure.upper_name, width, palette.benign, ascii_only=ascii_only), picture])
    upper = name_line(f"up    {figure.upper_name}", width, palette.benign, ascii_only=ascii_only)
    lower = name_line(f"down  {figure.lower_name}", width, palette.attacked, ascii_only=ascii_only)
    return Text("\n").join([upper, picture, lower])


def draw_small_histogram(
    figure: MirroredHistogram, width: int, height: int, palette: Palette, *, ascii_only: bool
) -> "Text | None":
    """The picture on both sides of one line that tells the lowest and highest value; None where it does not fit."""
    from rich.text import Text

    half = (height - 1) // 2 if figure.lower else height - 1
    if half < 1 or width < 4:
        return None
    with open_canvas(width, 2 * half if figure.lower else half, ascii_only=ascii_only) as canvas:
        highest, pixels = max(*figure.upper, *figure.lower, 1), 1 if ascii_only else 2
        _draw_halves(canvas, figure, pixels * width, half, highest, pixels)
        lines = canvas.text((palette.muted, palette.benign, palette.attacked)).split("\n")
    middle = end_line(
        *end_labels(*widened(figure.edges[0], figure.edges[-1])), width, palette.muted, ascii_only=ascii_only
    )
    return Text("\n").join([*lines[:half], middle, *lines[half:]])


def _draw_halves(canvas: Canvas, figure: MirroredHistogram, across: int, half: int, highest: int, pixels: int) -> None:
    """Bars of both halves on `across` pixels, as far as each bin has images."""
    bins = len(figure.upper)
    borders = [place * across // bins for place in range(bins + 1)]
    base = half if figure.lower else 0
    for counts, sign, ink in ((figure.upper, 1, _UP), (figure.lower, -1, _DOWN)):
        steps = [_steps(count / highest * half * pixels, pixels) if count else 0 for count in counts]
        # Neighbors of one height make one bar: plotext's time depends on the bars, and a small picture has few heights.
        runs = [(step, list(places)) for step, places in groupby(range(len(steps)), steps.__getitem__) if step]
        lefts = [borders[places[0]] for _, places in runs]
        rights = [max(left + 1, borders[places[-1] + 1]) for (_, places), left in zip(runs, lefts, strict=True)]
        canvas.bars(
            [((left + 0.5) / pixels, (right - 0.5) / pixels) for left, right in zip(lefts, rights, strict=True)],
            [base + sign * 0.5 / pixels] * len(runs),
            [base + sign * (step - 0.5) / pixels for step, _ in runs],
            ink,
        )


def _steps(height: float, pixels: int) -> int:
    """Pixels that a bar fills: at least one; half lines are begun, whole ones rounded."""
    return max(1, math.ceil(height - 1e-9) if pixels > 1 else round(height))
