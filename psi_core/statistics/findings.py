"""What a run found: every layer under every condition, told from noise of its size by one measure."""

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import noises_of
from psi_core.runs.run import Run
from psi_core.statistics.contrasts import Contrast, Decision, Silence, contrast, decide
from psi_core.statistics.paired import holm, subset_mask


def findings(run: Run, measure: str = "psi", subset: str = "all") -> list[list[Decision] | None]:
    """One decision a layer, by condition; None for benign.

    p values are corrected over the layers of all attacks, and apart over those of all controls.

    Args:
        run: a run with results.
        measure: one of its measures.
        subset: which images of each condition count, one of `statistics.SUBSETS`.

    Raises:
        ConfigError: there is no such subset.
        RunError: the run has no results yet.
    """
    values, details, names = run.array(measure).astype(np.float64), run.condition_details, run.conditions
    kept = subset_mask(subset, run.predictions == run.labels)
    places = [[names.index(noise.name) for noise in noises_of(each, details)] for each in details]
    cells = [
        [
            _contrasts(values[:, layer], np.flatnonzero(kept[at]), at, places[at], names)
            for layer in range(values.shape[1])
        ]
        for at in range(len(details))
    ]
    p = np.array([[_largest_p(*cell) for cell in row] for row in cells])
    p[0] = np.nan  # Benign is no test.
    p_holm = holm(p, ["controls" if each.is_control else "attacks" for each in details])
    decisions: list[list[Decision] | None] = [None]
    for at in range(1, len(details)):
        decisions.append(
            [
                decide(
                    benign, noises, float(p_holm[at, layer]), silence_of(values[:, layer][:, kept[at]], at, places[at])
                )
                for layer, (benign, noises) in enumerate(cells[at])
            ]
        )
    return decisions


def silence_of(values: NDArray[np.floating], at: int, noises: list[int]) -> Silence:
    """Which images a condition silences in one layer.

    Args:
        values: (condition, image), benign first, NaN where silent.
        at: place of the condition.
        noises: places of the noises of its size.
    """
    responding = ~np.isnan(values[0])
    silenced = np.count_nonzero(np.isnan(values) & responding, axis=-1)
    by_noise = min((int(silenced[noise]) for noise in noises), default=0)
    return Silence(int(np.count_nonzero(responding)), int(silenced[at]), by_noise)


def _contrasts(
    values: NDArray[np.float64], images: NDArray[np.intp], at: int, noises: list[int], names: list[str]
) -> tuple[Contrast, tuple[Contrast, ...]]:
    """Of one layer's values (condition, image): the contrast with benign, and that with each noise."""
    mine = values[:, images]
    made = [contrast(names[place], mine[0], mine[at], mine[place]) for place in (0, *noises)]
    return made[0], tuple(made[1:])


def _largest_p(benign: Contrast, noises: tuple[Contrast, ...]) -> float:
    """The p that has to be small for all noises to be told from the condition; without noise that against benign."""
    return float(np.max([each.p for each in noises or (benign,)]))
