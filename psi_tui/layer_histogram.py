"""One layer's histogram in two conditions, on shared bins: its numbers, as screens, pipes and JSON show them."""

from dataclasses import dataclass
from itertools import pairwise

from psi_core.columns import Row
from psi_core.errors import ConfigError, unknown_name
from psi_core.histograms import DISPLAY_BINS, TABLE_BINS, bin_counts, display_edges, table_edges
from psi_core.runs import Run
from psi_core.statistics import percent, present, subset_mask
from psi_tui.figures import MirroredHistogram
from psi_tui.formatting import format_count
from psi_tui.progress import headline_condition


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

    @property
    def outside(self) -> int:
        """How many values lie in no bin."""
        return sum(self.images) - sum(map(sum, self.counts))

    @property
    def figure(self) -> MirroredHistogram:
        """As a plot."""
        upper, lower = (
            f"{name}, {format_count(count)} images" for name, count in zip(self.conditions, self.images, strict=True)
        )
        return MirroredHistogram(tuple(self.edges), tuple(self.counts[0]), tuple(self.counts[1]), upper, lower)


def layer_histogram(
    run: Run,
    layer: str,
    *,
    condition: str | None = None,
    bins: int | None = None,
    subset: str = "all",
    whole_range: bool = False,
) -> LayerHistogram:
    """Benign against another condition, over the range that the layer takes in all conditions of the run.

    Args:
        run: with results.
        layer: its name.
        condition: the other condition; default: the first attack at its largest epsilon.
        bins: how many; default 40.
        subset: one of `statistics.SUBSETS`, as it is for that condition.
        whole_range: whether the bins lie over 0..1, as those of the tables do (default then: 20).

    Raises:
        ConfigError: the run has no such layer or condition, or there is no such subset.
    """
    if layer not in run.layers:
        raise ConfigError(unknown_name("layer", layer, run.layers))
    chosen = headline_condition(run) if condition is None else condition
    if chosen not in run.conditions[1:]:
        raise ConfigError(unknown_name("condition", chosen, run.conditions[1:]))
    psi = run.psi[:, run.layers.index(layer)]
    edges = table_edges(bins or TABLE_BINS) if whole_range else display_edges(psi, bins or DISPLAY_BINS)
    kept = subset_mask(subset, run.predictions == run.labels)[run.conditions.index(chosen)]
    pair = psi[[0, run.conditions.index(chosen)]][:, kept]
    benign, other = bin_counts(pair, edges).tolist()
    images = present(pair[0]).size, present(pair[1]).size
    return LayerHistogram(layer, (run.conditions[0], chosen), edges.tolist(), (benign, other), images)
