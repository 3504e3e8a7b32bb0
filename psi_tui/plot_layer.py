"""One layer's histogram in two conditions, on shared bins: its numbers, and how a shell prints them."""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from psi_core.columns import Row
from psi_core.errors import ConfigError, unknown_name
from psi_core.histograms import DISPLAY_BINS, bin_counts, display_edges
from psi_core.runs import Run
from psi_core.statistics import percent, present, subset_mask
from psi_tui.formatting import format_count
from psi_tui.layers_table import title
from psi_tui.plots import LOWER_COLOR, UPPER_COLOR, mirrored_histogram
from psi_tui.progress import headline_condition

if TYPE_CHECKING:
    from rich.console import Console

_HEIGHT = 20


@dataclass(frozen=True, slots=True)
class LayerHistogram:
    """Histograms of one layer, benign and compared.

    Attributes:
        layer: its name.
        conditions: the two conditions, benign first.
        edges: of the bins they share.
        counts: images in each bin, for each of the two.
        images: with a value at all, for each of the two: a few may lie outside the edges.
    """

    layer: str
    conditions: tuple[str, str]
    edges: list[float]
    counts: tuple[list[int], list[int]]
    images: tuple[int, int]

    @property
    def rows(self) -> list[Row]:
        """As the histogram table has them."""
        return [
            {
                "layer": self.layer,
                "condition": condition,
                "bin_left": left,
                "bin_right": right,
                "count": count,
                "percent": float(percent(count, images)),
            }
            for condition, counts, images in zip(self.conditions, self.counts, self.images, strict=True)
            for (left, right), count in zip(pairwise(self.edges), counts, strict=True)
        ]


def layer_histogram(
    run: Run, layer: str, *, condition: str | None = None, bins: int | None = None, subset: str = "all"
) -> LayerHistogram:
    """Benign against another condition, over the range that the layer takes in all conditions of the run.

    Args:
        run: with results.
        layer: its name.
        condition: the other condition; default: the first attack at its largest epsilon.
        bins: how many; default 40.
        subset: one of `statistics.SUBSETS`, as it is for that condition.

    Raises:
        ConfigError: the run has no such layer or condition, or there is no such subset.
    """
    if layer not in run.layers:
        raise ConfigError(unknown_name("layer", layer, run.layers))
    chosen = headline_condition(run) if condition is None else condition
    if chosen not in run.conditions[1:]:
        raise ConfigError(unknown_name("condition", chosen, run.conditions[1:]))
    psi = run.psi[:, run.layers.index(layer)]
    edges = display_edges(psi, DISPLAY_BINS if bins is None else bins)
    kept = subset_mask(subset, run.predictions == run.labels)[run.conditions.index(chosen)]
    pair = psi[[0, run.conditions.index(chosen)]][:, kept]
    benign, other = bin_counts(pair, edges).tolist()
    images = present(pair[0]).size, present(pair[1]).size
    return LayerHistogram(layer, (run.conditions[0], chosen), edges.tolist(), (benign, other), images)


def print_histogram(console: "Console", run: Run, histogram: LayerHistogram) -> None:
    """Prints the two histograms, the first growing up and the second down, with what they are above and below."""
    console.print(title(run), style="bold", soft_wrap=True)
    names = [
        f"{condition}, {format_count(images)} images"
        for condition, images in zip(histogram.conditions, histogram.images, strict=True)
    ]
    console.print(f"up    {names[0]}", style=UPPER_COLOR)
    picture = mirrored_histogram(
        histogram.edges, *histogram.counts, width=max(20, min(console.width, 160)), height=_HEIGHT
    )
    console.print(picture, no_wrap=True, overflow="ignore", crop=False)
    console.print(f"down  {names[1]}", style=LOWER_COLOR)
    outside = sum(histogram.images) - int(np.sum(histogram.counts))
    bins = len(histogram.edges) - 1
    note = f"PSI of {histogram.layer}: images in each of {bins} bins from {histogram.edges[0]:.4f} to "
    note += f"{histogram.edges[-1]:.4f}" + (f"; {format_count(outside)} values lie outside" if outside else "")
    console.print(note, style="dim", soft_wrap=True)
