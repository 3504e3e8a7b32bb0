"""Is the network one that can be measured image by image? What the engine saw of it on the run's first images."""

import math

from psi_core.evidence.arithmetic import ALONE_MEETS, ALONE_NEAR, engine_evidence, mixing_of
from psi_core.evidence.check import Check, at_most, not_checked
from psi_core.plain_text import counted, short_number
from psi_core.runs.run import Run

NORMALIZED_ONCE = 1.5
"""Numbers that reach the first layer, as a multiple of the largest that a normalized pixel can be. A second
normalization gives 3 and more."""


def alone_and_among_others(run: Run) -> Check | None:
    """Whether an image's answer is its own; None for runs of versions that did not look."""
    name, seen = "alone", engine_evidence(run)
    if seen is None or (seen.alone_difference is None and seen.alone_reason is None):
        return None
    difference = seen.alone_difference
    if difference is None or not math.isfinite(difference):
        return not_checked(name, f"it could not be looked at: {seen.alone_reason or 'it came to NaN or infinity'}")
    status = at_most(difference, ALONE_MEETS, ALONE_NEAR)
    within = f"{short_number(100 * difference, 2)} %"
    have = "has" if seen.images == 1 else "have"
    sentence = f"{counted(seen.images or 0, 'image')} alone and among others {have} the same logits within {within}"
    if status == "green":
        return Check(name, status, sentence, 100 * difference, "percent")
    sentence += (
        f" of the largest: {mixing_of(seen)}, so that every number depends on --batch; normalize by running statistics"
    )
    return Check(name, status, sentence, 100 * difference, "percent")


def outputs_are_logits(run: Run) -> Check | None:
    """Whether the network gives logits; None where it does."""
    seen = engine_evidence(run)
    if seen is None or seen.outputs not in ("probabilities", "sigmoids"):
        return None
    found = {
        "probabilities": "its outputs are probabilities, whose rows sum to 1, not logits: a softmax flattens the "
        "gradient that attacks follow",
        "sigmoids": "its outputs lie in 0..1 and do not sum to 1, as sigmoids of several labels do: "
        "an attack takes them as logits of one choice",
    }[seen.outputs]
    return Check("outputs", "amber", f"{found}; give the network without its last activation")


def normalized_once(run: Run) -> Check | None:
    """Whether pixels are normalized once; None where they are, or where the run normalizes nothing."""
    seen = engine_evidence(run)
    factor = None if seen is None else seen.normalized_by
    if factor is None or factor <= NORMALIZED_ONCE:
        return None
    sentence = (
        f"the first layer gets numbers {factor:.1f} times as large as pixels normalized by {run.config.normalize} can "
        "be: the network may normalize them again; write --normalize none if it does"
    )
    return Check("normalized once", "amber", sentence, factor, "times")


def activations_measured(run: Run) -> Check | None:
    """How many of the network's activations are measured; None for runs of versions that did not count."""
    seen = engine_evidence(run)
    if seen is None or not seen.activations or seen.measured is None:
        return None
    sentence = f"measured {seen.measured} of {seen.activations} activations"
    if not seen.left_out:
        return Check("activations", "green", sentence, 100.0, "percent")
    share = 100 * seen.measured / seen.activations
    return Check("activations", "amber", f"{sentence}: {seen.left_out}", share, "percent")
