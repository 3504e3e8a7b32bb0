"""Do the attacks step where they would at full precision? Looked at in runs at `tf32` and `bf16`."""

import math

from psi_core.events import EventReader, events_path
from psi_core.evidence.check import Check, at_least, not_checked
from psi_core.runs import Run

SIGNS_MEET, SIGNS_NEAR = 0.99, 0.85
"""Share of a gradient's signs: tf32 turns few of them, bf16 about 8 %."""


def gradient_signs(run: Run) -> Check:
    """Whether the gradient's signs are those of `exact`, on the run's first batch."""
    name, policy = "gradient signs", run.config.precision
    told = [event for event in EventReader(events_path(run.directory, 0)).poll() if event["event"] == "precision"]
    share = told[-1].get("sign_agreement") if told else None
    if not isinstance(share, int | float) or not math.isfinite(share):
        return not_checked(name, "the first worker has not compared them yet; it does before its first image")
    sentence = f"{100 * share:.1f} % of the first batch's gradient signs at {policy} are those at exact"
    status = at_least(share, SIGNS_MEET, SIGNS_NEAR)
    if status != "green":
        sentence += ": a step goes elsewhere in the other pixels; compare the shifts with --precision exact"
    return Check(name, status, sentence, 100 * share, "percent")
