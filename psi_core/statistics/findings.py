"""What a run found: every layer under every condition, told from noise of its size by one measure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import Condition, noises_of
from psi_core.runs.run import Run
from psi_core.statistics.contrasts import Contrast, Decision, Silence, contrast, decide
from psi_core.statistics.paired import holm, subset_mask


def findings(
    run: Run, measure: str = "psi", subset: str = "all", *, attacks_only: bool = False
) -> list[list[Decision] | None]:
    """One decision a layer, by condition; None for benign.

    Args:
        run: a run with results.
        measure: one of its measures.
        subset: which images of each condition count, one of `statistics.SUBSETS`.
        attacks_only: whether controls get None too, which takes less time.

    Raises:
        ConfigError: there is no such subset.
        RunError: the run has no results yet.
    """
    kept = subset_mask(subset, run.predictions == run.labels)
    values = run.array(measure).astype(np.float64)
    return decisions_of(values, kept, run.condition_details, attacks_only=attacks_only)


def decisions_of(
    values: NDArray[np.float64],
    kept: NDArray[np.bool_],
    conditions: Sequence[Condition],
    *,
    attacks_only: bool = False,
) -> list[list[Decision] | None]:
    """One decision a layer, by condition; None for benign.

    p values are corrected over the layers of all attacks, and apart over those of all controls.

    Args:
        values: (condition, layer, image), NaN where silent; benign first.
        kept: which images of each condition count, (condition, image).
        conditions: along the first axis.
        attacks_only: whether controls get None too.
    """
    names, layers = [each.name for each in conditions], range(values.shape[1])
    places = [[names.index(noise.name) for noise in noises_of(each, conditions)] for each in conditions]
    decided = [at for at, each in enumerate(conditions) if not (each.is_benign or (attacks_only and each.is_control))]
    cells = [[_contrasts(values[:, layer][:, kept[at]], at, places[at], names) for layer in layers] for at in decided]
    families = ["controls" if conditions[at].is_control else "attacks" for at in decided]
    p_holm = holm(np.array([[_largest_p(*cell) for cell in row] for row in cells]), families)
    decisions: list[list[Decision] | None] = [None] * len(names)
    for at, row, corrected in zip(decided, cells, p_holm.tolist(), strict=True):
        silences = [_silence(values[:, layer][:, kept[at]], at, places[at]) for layer in layers]
        decisions[at] = [decide(*cell, p, silence) for cell, p, silence in zip(row, corrected, silences, strict=True)]
    return decisions


def _contrasts(
    values: NDArray[np.float64], at: int, noises: list[int], names: list[str]
) -> tuple[Contrast, tuple[Contrast, ...]]:
    """Of one layer's values (condition, image): the contrast with benign, and that with each noise."""
    benign, *others = (contrast(names[place], values[0], values[at], values[place]) for place in (0, *noises))
    return benign, tuple(others)


def _largest_p(benign: Contrast, noises: tuple[Contrast, ...]) -> float:
    """The p that has to be small for all noises to be told from the condition; without noise that against benign."""
    return float(np.max([each.p for each in noises or (benign,)]))


def _silence(values: NDArray[np.float64], at: int, noises: list[int]) -> Silence:
    """Which images a condition silences in one layer, from its values (condition, image)."""
    responding = ~np.isnan(values[0])
    silenced = np.count_nonzero(np.isnan(values) & responding, axis=-1)
    by_noise = min((int(silenced[noise]) for noise in noises), default=0)
    woken = int(np.count_nonzero(~np.isnan(values[at]) & ~responding))
    return Silence(int(np.count_nonzero(responding)), int(silenced[at]), by_noise, len(responding), woken)
