"""Evidence: what speaks for a run's numbers or against them, green, amber or red, each with its number.

The checks are those that a careful reviewer of an attack asks for (Carlini et al. 2019, arXiv:1902.06705). They read
the run's files; what only the engine can see, it wrote there as an `evidence` event.
"""

from collections.abc import Callable, Iterable

from psi_core.evidence.arithmetic import (
    deterministic,
    finite_differences,
    gradient_signs,
    norms_within_epsilon,
    nothing_at_epsilon_0,
)
from psi_core.evidence.check import Check, Status
from psi_core.evidence.comparison import controls_present, duplicates, images_enough, noise_against_noise
from psi_core.evidence.network import (
    activations_measured,
    alone_and_among_others,
    normalized_once,
    outputs_are_logits,
)
from psi_core.evidence.strength import (
    clean_accuracy,
    confident_images,
    iterated_as_strong,
    noise_weaker,
    success_with_epsilon,
    zero_gradients,
)
from psi_core.runs.run import Run

__all__ = ["CHECKS", "Check", "Status", "checks_of", "tally"]

CHECKS: tuple[Callable[[Run], Check | None], ...] = (
    clean_accuracy,
    success_with_epsilon,
    iterated_as_strong,
    noise_weaker,
    zero_gradients,
    confident_images,
    finite_differences,
    deterministic,
    alone_and_among_others,
    outputs_are_logits,
    normalized_once,
    activations_measured,
    norms_within_epsilon,
    nothing_at_epsilon_0,
    noise_against_noise,
    controls_present,
    images_enough,
    duplicates,
    gradient_signs,
)
"""In the order in which they are read. One that has nothing to say of a run gives None and is left out."""


def checks_of(run: Run) -> list[Check]:
    """All checks of what is there.

    Raises:
        RunError: the run has no results yet.
    """
    return [found for check in CHECKS if (found := check(run)) is not None]


def tally(statuses: Iterable[str]) -> str:
    """How many are what: `8 green, 2 amber, 0 red, 2 not checked`."""
    statuses = list(statuses)
    counted = ", ".join(f"{statuses.count(status)} {status}" for status in ("green", "amber", "red"))
    unknown = statuses.count("none")
    return f"{counted}, {unknown} not checked" if unknown else counted
