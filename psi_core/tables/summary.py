"""A run in five numbers, for lists of runs. Cheap: no scipy, and the cache of statistics."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import EXTERNAL
from psi_core.config import ResolvedConfig
from psi_core.errors import RunError
from psi_core.runs.run import Run
from psi_core.tables.cache import remembered


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a list of runs shows of one; None where there is nothing to show.

    Attributes:
        accuracy_percent: accuracy on the benign images; None for labels that are the network's own predictions.
        attacked_accuracy_percent: under the headline condition; likewise.
        shift_layer: the layer whose mean PSI the headline condition moves furthest from its control; where it has
            none, from benign.
        shift: the mean difference of that layer, attacked minus benign by image, signed.
        shift_control: likewise attacked minus control: the headline.
        control: name of that control.
    """

    accuracy_percent: float | None = None
    attacked_accuracy_percent: float | None = None
    shift_layer: str | None = None
    shift: float | None = None
    shift_control: float | None = None
    control: str | None = None


def run_summary(run: Run) -> RunSummary:
    """The summary of what is there; empty while nothing is."""
    try:
        return RunSummary(**remembered(run, ("summary",), lambda: asdict(_summary(run))))
    except RunError:
        return RunSummary()


def headline_accuracies(run: Run) -> tuple[float | None, float | None]:
    """Accuracy in percent of what is there: benign, and under the headline condition.

    None where there are no results yet, and for labels that are the network's own predictions.
    """
    if run.config.labels == "predicted":
        return None, None
    try:
        correct = (run.predictions == run.labels).mean(axis=-1) * 100
    except RunError:
        return None, None
    return float(correct[0]), float(correct[run.conditions.index(headline_condition(run))])


def attack_text(config: ResolvedConfig) -> str:
    """What was done to a run's images, in a few words: `fgsm 0.03, 0.1`, `fgsm 0.03, attacked.npz`."""
    epsilons = ", ".join(f"{epsilon:g}" for epsilon in config.epsilon)
    aim = "" if config.target == "none" else f" to {config.target}"
    own = [f"{', '.join(config.attack)} {epsilons}{aim}"] if config.attack else []
    external = [Path(config.attacked.partition(":")[2]).name] if config.attacked else []
    return ", ".join([*own, *external])


def headline_condition(run: Run) -> str:
    """The condition that stands for the run where there is room for one: the first attack at its largest epsilon, or
    the images attacked elsewhere where the run has no attack of its own.
    """
    first = next(iter(run.config.attack), EXTERNAL)
    attacks = [condition for condition in run.condition_details if condition.attack == first]
    return max(attacks, key=lambda condition: condition.epsilon).name


def _summary(run: Run) -> RunSummary:
    at = run.conditions.index(headline_condition(run))
    control, psi = run.condition_details[at].control, run.psi
    shifts = _paired_means(psi[0], psi[at])
    beyond = np.full_like(shifts, np.nan)
    if control is not None:
        beyond = _paired_means(psi[run.conditions.index(control)], psi[at])
    decisive = shifts if np.isnan(beyond).all() else beyond
    if np.isnan(decisive).all():
        return RunSummary(*headline_accuracies(run))
    largest = int(np.nanargmax(np.abs(decisive)))
    shift, shift_control = (None if np.isnan(means[largest]) else float(means[largest]) for means in (shifts, beyond))
    return RunSummary(*headline_accuracies(run), run.layers[largest], shift, shift_control, control)


def _paired_means(reference: NDArray[np.float32], attacked: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean difference by layer, from (layer, image); NaN where no image has a value in both."""
    differences = attacked.astype(np.float64) - reference
    is_present = ~np.isnan(differences)
    pairs = np.count_nonzero(is_present, axis=-1)
    totals = np.where(is_present, differences, 0.0).sum(axis=-1)
    means = np.full(pairs.shape, np.nan)
    np.divide(totals, pairs, out=means, where=pairs > 0)
    return means
