"""One layer's histogram in two conditions, as a shell prints it."""

from typing import TYPE_CHECKING

from psi_core.runs import Run
from psi_tui.formatting import format_cell, format_count
from psi_tui.layer_histogram import LayerHistogram
from psi_tui.layers_table import title
from psi_tui.plots import draw

if TYPE_CHECKING:
    from rich.console import Console

_HEIGHT = 22


def print_histogram(console: "Console", run: Run, histogram: LayerHistogram) -> None:
    """Prints the two histograms, the first growing up and the second down, with what they are above and below."""
    console.print(title(run), style="bold", soft_wrap=True)
    picture = draw(histogram.figure, max(20, min(console.width, 160)), _HEIGHT)
    console.print(picture, no_wrap=True, overflow="ignore", crop=False)
    outside = histogram.outside
    bins = len(histogram.edges) - 1
    low, high = (format_cell(histogram.edges[end], "psi") for end in (0, -1))
    note = f"{histogram.title}: images in each of {bins} bins from {low} to {high}"
    note += f"; {format_count(outside)} values lie outside" if outside else ""
    console.print(note, style="dim", soft_wrap=True)
    condition = histogram.conditions[1]
    shifts = [f"{format_cell(histogram.shift, 'shift')} from {histogram.conditions[0]}"]
    if histogram.control is not None:
        shifts.append(f"{format_cell(histogram.shift_from_control, 'shift')} from {histogram.control}")
    console.print(f"mean difference of {condition}, by image: {', '.join(shifts)}", style="dim", soft_wrap=True)
