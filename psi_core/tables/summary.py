"""A run in a few numbers, for lists of runs. Cheap: no scipy.stats, and the cache of statistics."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from psi_core.conditions import BENIGN, EXTERNAL, epsilon_label
from psi_core.config import ResolvedConfig
from psi_core.errors import RunError
from psi_core.evidence import checks_of
from psi_core.evidence.check import worst
from psi_core.runs.run import Run
from psi_core.statistics.contrasts import SIGNIFICANT, Decision
from psi_core.statistics.findings import findings
from psi_core.tables.cache import remembered


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a list of runs shows of one; None where there is nothing to show.

    Attributes:
        accuracy_percent: accuracy on the benign images; None for labels that are the network's own predictions.
        attacked_accuracy_percent: under the headline condition; likewise.
        shift_layer: the layer that the headline condition moves furthest beyond noise, of those whose verdict says that
            it does; without noise of its size, the one that lies furthest from benign, of those told from it.
        shift: the mean difference of that layer, attacked minus benign by image, signed.
        shift_control: likewise attacked minus control.
        control: name of that control.
        delta_sd: how far that layer lies beyond noise, in benign sd between images, as the layers table has it: the
            headline.
        noise: name of the noise that it differs from least.
        has_noise: whether there is noise of the condition's size.
        evidence: the worst status of the run's checks, `green`, `amber`, `red` or `none`; None while chunks
            are missing.
    """

    accuracy_percent: float | None = None
    attacked_accuracy_percent: float | None = None
    shift_layer: str | None = None
    shift: float | None = None
    shift_control: float | None = None
    control: str | None = None
    delta_sd: float | None = None
    noise: str | None = None
    has_noise: bool = False
    evidence: str | None = None


def run_summary(run: Run) -> RunSummary:
    """The summary of what is there; empty while nothing is."""
    try:
        return RunSummary(**remembered(run, ("summary",), lambda: asdict(_summary(run))))
    except RunError:
        return RunSummary()


def headline_accuracies(run: Run) -> tuple[float | None, float | None]:
    """Accuracy in percent of what is there: benign, and under the headline condition.

    None where there are no results yet, and for labels that are the network's own predictions; the second also where
    nothing was done to the images.
    """
    if run.config.labels == "predicted":
        return None, None
    try:
        correct = (run.predictions == run.labels).mean(axis=-1) * 100
    except RunError:
        return None, None
    attacked = run.conditions.index(headline_condition(run))
    return float(correct[0]), float(correct[attacked]) if attacked else None


def attack_text(config: ResolvedConfig) -> str:
    """What was done to a run's images, in a few words: `fgsm 0.03, 0.1`, `fgsm 0.03, attacked.npz`."""
    epsilons = ", ".join(map(epsilon_label, config.epsilon))
    aim = "" if config.target == "none" else f" to {config.target}"
    own = [f"{', '.join(config.attack)} {epsilons}{aim}"] if config.attack else []
    external = [Path(config.attacked.partition(":")[2]).name] if config.attacked else []
    controls = [f"{', '.join(config.controls)} {epsilons}"] if config.controls else [BENIGN]
    return ", ".join([*own, *external] or controls)


def headline_condition(run: Run) -> str:
    """The condition that stands for the run where there is room for one: the first attack at its largest epsilon, or
    the images attacked elsewhere where the run has no attack of its own, else a control, or benign images alone.
    """
    first = next(iter(run.config.attack), EXTERNAL)
    attacks = [condition for condition in run.condition_details if condition.attack == first]
    attacks = attacks or [*run.condition_details[1:]] or [*run.condition_details]
    return max(attacks, key=lambda condition: condition.epsilon if condition.has_epsilon else -1).name


def _summary(run: Run) -> RunSummary:
    found = _finding(run)
    return found if run.missing_chunks else replace(found, evidence=_evidence(run))


def _evidence(run: Run) -> str | None:
    """The worst status of the run's checks; None where one of them cannot be read."""
    try:
        return worst(check.status for check in checks_of(run))
    except RunError:
        return None


def _finding(run: Run) -> RunSummary:
    at, accuracies = run.conditions.index(headline_condition(run)), headline_accuracies(run)
    decisions = findings(run, attacks_only=True)[at] or []
    has_noise = any(each.contrasts for each in decisions)
    sizes = [abs(_headline(each, has_noise=has_noise)) for each in decisions]
    if np.isnan(sizes).all():
        return RunSummary(*accuracies, has_noise=has_noise)
    largest = int(np.nanargmax(sizes))
    decision, control = decisions[largest], run.condition_details[at].control
    deciding = decision.deciding
    return RunSummary(
        *accuracies,
        shift_layer=run.layers[largest],
        shift=decision.against_benign.shift,
        shift_control=None if control is None else _mean_difference(run, largest, at, run.conditions.index(control)),
        control=control,
        delta_sd=None if deciding is None else deciding.delta,
        noise=None if deciding is None else deciding.reference,
        has_noise=has_noise,
    )


def _headline(decision: Decision, *, has_noise: bool) -> float:
    """How far a layer lies beyond noise, in benign sd; without any noise from benign; NaN where neither is claimed."""
    if has_noise:
        deciding = decision.deciding if decision.finding == "beyond" else None
        return np.nan if deciding is None else deciding.delta
    benign = decision.against_benign
    return benign.delta if benign.is_told and decision.p_holm < SIGNIFICANT else np.nan


def _mean_difference(run: Run, layer: int, at: int, reference: int) -> float | None:
    """Mean difference of two conditions in a layer, by image; None where no image has a value in both."""
    differences = run.psi[at, layer].astype(np.float64) - run.psi[reference, layer]
    present = differences[~np.isnan(differences)]
    return float(present.mean()) if present.size else None
