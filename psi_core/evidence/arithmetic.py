"""Is the arithmetic sound? Checks of the gradient, of repetition, of norms, of epsilon 0 and of a lower precision."""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import EPSILON_ROUNDING, Condition
from psi_core.evidence.check import Check, at_least, at_most, badness, listed, not_checked, worst
from psi_core.plain_text import counted, short_number
from psi_core.runs.event_log import EventReader, events_path
from psi_core.runs.events import EvidenceFound, PrecisionCompared, Started
from psi_core.runs.run import Run

EventT = TypeVar("EventT")

SIGNS_MEET, SIGNS_NEAR = 0.99, 0.85
"""Share of a gradient's signs: tf32 turns few of them, bf16 about 8 %."""

DIFFERENCES_MEET, DIFFERENCES_NEAR = 1e-3, 0.05
"""Relative error of central differences against the gradient in float64: 1e-7 is usual, a bend of a ReLU within the
step costs percents, a gradient that is none is off by its own size."""

GRADIENT_MEETS, GRADIENT_NEAR = 0.05, 0.5
"""How far the run's own gradient points elsewhere, 0..2: float32 differs by 1e-6, bf16 by percents, a gradient of
rounding noise by 1.4."""

ALONE_MEETS, ALONE_NEAR = 1e-4, 1e-2
"""Share of the largest logit by which an image's logits may depend on its batch: another order of sums gives the
first, a normalization by the batch exceeds the second."""

ROUNDING_OF_LOGITS = 1e-3
"""The most by which another order of sums changes a logit; dropout changes it by far more."""

ROUNDING_OF_GRADIENT = 0.05
"""Likewise of any number of a gradient, as a share of the largest: 1e-6 is usual in float32, percents in bf16."""

L2_ROUNDING = 1e-5
"""Share by which rounding lengthens an L2 norm."""

_START_AGAIN = "the engine looks when a run starts; start it again with this version"
_NOT_LOOKED_AT = f"not looked at: {_START_AGAIN}"


def finite_differences(run: Run) -> Check:
    """Whether the gradient that attacks follow is the slope of the loss."""
    name, seen = "finite differences", engine_evidence(run)
    if seen is None:
        return not_checked(name, _NOT_LOOKED_AT)
    if not run.config.attack:
        return not_checked(name, "nothing here follows a gradient; add --attack fgsm")
    error, own = _finite(seen.finite_difference_error), _finite(seen.gradient_error)
    if error is None or own is None:
        return not_checked(name, _why_not(seen.gradient_reason))
    statuses = at_most(error, DIFFERENCES_MEET, DIFFERENCES_NEAR), at_most(own, GRADIENT_MEETS, GRADIENT_NEAR)
    status = worst(statuses)
    sentence = (
        f"in {counted(seen.images or 0, 'image')} drawn by lot central differences in float64 meet the gradient within "
        f"{_percent(error)}; the run's own ({run.config.precision}) has its direction within {_percent(own)}"
    )
    if statuses[0] != "green" and (_finite(seen.alone_difference) or 0.0) > ALONE_MEETS:
        sentence += f": {mixing_of(seen)}, so that the others' pixels move an image's loss too; mend that first"
    elif statuses[0] != "green":
        sentence += ": what attacks follow is not the slope of the loss; look for a backward of its own, or rounding"
    elif status != "green":
        cure = "a cross-entropy in float32 loses its digits where the network is sure; run it again with --loss margin"
        if run.config.loss == "margin":
            cure = "the network rounds in its forward; look for casts and autocast in it"
        cure = cure if run.config.precision == "exact" else "compare with --precision exact"
        sentence += f": some of its signs may be wrong; {cure}"
    return Check(name, status, sentence, 100 * max(error, own), "percent")


def deterministic(run: Run) -> Check:
    """Whether the network answers the same images the same way, and has the same gradient at them."""
    name, seen = "deterministic", engine_evidence(run)
    if seen is None:
        return not_checked(name, _NOT_LOOKED_AT)
    difference, training = _finite(seen.repeat_difference), seen.training_modules
    if difference is None or training is None:
        return not_checked(name, _why_not(seen.repeat_reason))
    share = _finite(seen.gradient_repeat_difference) if run.config.attack else None
    of_difference = at_most(difference, 0.0, ROUNDING_OF_LOGITS)
    of_logits = worst([of_difference, "red" if training else "green"])
    of_gradient = "none" if share is None else at_most(share, 0.0, ROUNDING_OF_GRADIENT)
    status = worst([of_logits, of_gradient])
    repeated = "bit for bit" if difference == 0 else f"within {difference:.2g} in every logit"
    modules = {0: "no module is", 1: "1 module is"}.get(training, f"{training} modules are")
    gradients = _repeated_gradients(run, seen, is_same=difference == 0)
    sentence = f"two forwards of the same images agree {repeated}{gradients}; {modules} in training mode"
    if training and of_difference != "red":
        sentence += ", where normalization goes by the batch; let its train(False) reach every module"
    elif of_logits == "red":
        sentence += ": chance decides too, so that attacks and differences measure it; take dropout and noise out"
    elif status == "red":
        sentence += ": chance decides where attacks go; look for noise in a backward of its own"
    elif status == "amber":
        cure = "compare with --precision exact"
        if run.config.precision == "exact":
            cure = "look for what adds as threads come, as index_add and some backwards on a GPU do"
        sentence += f": sums in another order; {cure}"
    if share is not None and badness(of_gradient) > badness(of_logits):
        return Check(name, status, sentence, 100 * share, "percent")
    return Check(name, status, sentence, difference, "logit")


def _repeated_gradients(run: Run, seen: EvidenceFound, *, is_same: bool) -> str:
    """How two gradients agree, to be said after how two forwards do: whether those are the same."""
    if not run.config.attack:
        return ""
    share, reason = _finite(seen.gradient_repeat_difference), seen.gradient_repeat_reason
    if share is None:  # Older runs have neither.
        return f"; two gradients could not be compared: {reason}" if reason else ""
    if share == 0:
        return ", and so do two gradients" if is_same else ", two gradients bit for bit"
    return f", two gradients within {_percent(share)} of their largest number"


def mixing_of(seen: EvidenceFound) -> str:
    """What makes an image's logits depend on its batch, where they do."""
    return seen.alone_cause or "its forward mixes the images of a batch"


def norms_within_epsilon(run: Run) -> Check:
    """Whether any image moved further than it may."""
    name, external = "norms", _external_norms(run)
    elements = _input_elements(run)
    reached, unbounded, too_far = [], [], []
    for at, condition in enumerate(run.condition_details):
        if condition.is_benign or not condition.has_epsilon:
            continue
        is_l2 = condition.row.norm == "l2"
        if is_l2 and elements is None:
            unbounded.append(condition.name)
            continue
        found = run.array("l2" if is_l2 else "linf")[at]
        if condition.is_foolbox:  # NaN stands where an attack failed; anywhere else it is too far.
            found = found[~np.isnan(found)]
        largest = float(found.max(initial=0))
        bound = condition.epsilon * (math.sqrt(elements or 1) if is_l2 else 1)
        # Written so that NaN is too far.
        if not largest <= (bound * (1 + L2_ROUNDING) if is_l2 else bound + EPSILON_ROUNDING):
            too_far.append(f"{condition.name} by {'L2' if is_l2 else 'L-inf'} {largest:.4g} of {bound:.4g}")
        if bound:
            reached.append(100 * largest / bound)
    value = max(reached, default=None)
    if too_far:
        return Check(name, "red", f"further than epsilon allows: {listed(too_far)}{external}", value, "percent")
    unknown = f"{listed(unbounded)} cannot be told: their L2 needs input_shape, which this run's model.json lacks"
    if value is None:
        return not_checked(name, unknown if unbounded else f"nothing has an epsilon above 0 to stay within{external}")
    sentence = f"no image moved further than its epsilon, at most {value:.1f} % of it{external}"
    if unbounded:
        return Check(name, "amber", f"{sentence}; {unknown}", value, "percent")
    return Check(name, "green", sentence, value, "percent")


def nothing_at_epsilon_0(run: Run) -> Check:
    """Whether an attack of no size leaves everything as it is, to the bit."""
    name = "epsilon 0"
    places = [at for at, each in enumerate(run.condition_details) if _is_attack_at_0(each)]
    if not places:
        return not_checked(name, "no attack has epsilon 0, where all must be as benign; add it, --epsilon 0,0.03")
    psi, predictions = run.psi, run.predictions
    differs = np.zeros(len(run.index), np.bool_)
    for at in places:
        differs |= _bits_differ(psi[at], psi[0]).any(axis=0) | (predictions[at] != predictions[0])
    changed = int(np.count_nonzero(differs))
    names = listed(run.conditions[at] for at in places)
    if not changed:
        return Check(name, "green", f"PSI and predictions are the benign ones bit for bit under {names}", 0, "images")
    sentence = f"PSI or prediction of {counted(changed, 'image')} is not the benign one under {names}: look for chance"
    return Check(name, "red", sentence, changed, "images")


def gradient_signs(run: Run) -> Check | None:
    """Whether the signs of the gradient, on the run's first batch, are those at full precision; None where it is."""
    name, policy = "gradient signs", run.config.precision
    if policy == "exact":
        return None
    compared = _last_event(run, PrecisionCompared)
    share = _finite(compared.sign_agreement) if compared else None
    if share is None:
        return not_checked(name, "the first worker has not compared them yet; it does before its first image")
    sentence = f"{100 * share:.1f} % of the first batch's gradient signs at {policy} are those at exact"
    status = at_least(share, SIGNS_MEET, SIGNS_NEAR)
    if status != "green":
        sentence += ": a step goes elsewhere in the other pixels; compare the shifts with --precision exact"
    return Check(name, status, sentence, 100 * share, "percent")


def engine_evidence(run: Run) -> EvidenceFound | None:
    """What the engine last wrote of its own checks, or None."""
    return _last_event(run, EvidenceFound)


def _last_event(run: Run, kind: type[EventT]) -> EventT | None:
    """The last event of a kind that the first worker of this run wrote, or None; those of another run say nothing."""
    found, is_own = None, True
    for event in EventReader(events_path(run.directory, 0)).events():
        if isinstance(event, Started):
            is_own = event.run in (None, run.id)
        elif is_own and isinstance(event, kind):
            found = event
    return found


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _why_not(reason: str | None) -> str:
    return f"it could not be looked at: {reason or _START_AGAIN}"


def _percent(share: float) -> str:
    """A relative error as a bound on it; digits below a thousandth of a percent tell nothing."""
    return f"{short_number(max(100 * share, 0.001), 2)} %"


def _external_norms(run: Run) -> str:
    """What is known of images attacked elsewhere, whose epsilon nobody knows."""
    for at, condition in enumerate(run.condition_details):
        if condition.is_external:
            linf, l2 = (run.array(norm)[at].max() for norm in ("linf", "l2"))
            return f"; images attacked elsewhere moved by L-inf {linf:.4g} and L2 {l2:.4g} at most"
    return ""


def _input_elements(run: Run) -> int | None:
    """Numbers in one input of the network, or None where the run does not say."""
    shape = run.model.get("input_shape")
    return math.prod(map(int, shape)) if shape else None


def _is_attack_at_0(condition: Condition) -> bool:
    return condition.epsilon == 0 and not condition.is_benign


def _bits_differ(values: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    differ: NDArray[np.bool_] = values.view(np.uint32) != others.view(np.uint32)
    return differ
