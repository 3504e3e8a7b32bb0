"""`python -m psi_core ablate`: an AblationConfig in, events and at last the rows out."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from psi_core.ablation import AblationConfig
from psi_core.engine.ablation import Ablation, prepare_ablation
from psi_core.engine.checkpoints import find_checkpoint
from psi_core.engine.fitting import FitInterruptedError, ensure_fitted
from psi_core.engine.masked_runs import run_ablation

INTERRUPTED = 130

Say = Callable[[Mapping[str, Any]], None]


class _LeftError(Exception):
    """Whoever asked wants no answer any more."""


def ablate(values: Mapping[str, Any], say: Say, is_interrupted: Callable[[], bool]) -> int:
    """Does one ablation and gives the exit code; interrupted, it says nothing of what was done till then.

    Args:
        values: keys of AblationConfig.from_values.
        say: takes the events: `warning` (text), `phase` (phase), `fit` (as a run's), `progress` (phase, done, total,
            images_per_second), and at last `finished` (rows, title, notes).
        is_interrupted: asked after every batch.

    Raises:
        PsiError: refused before any work, or failed on the way.
    """

    def report(phase: str, done: int, total: int, images_per_second: float) -> None:
        if is_interrupted():
            raise _LeftError
        say({"event": "progress", "phase": phase, "done": done, "total": total, "images_per_second": images_per_second})

    ablation = prepare_ablation(AblationConfig.from_values(values))
    for note in ablation.prepared.notes:
        say({"event": "warning", "text": note})
    try:
        ablation = _with_weights(ablation, say, is_interrupted)
        result = run_ablation(ablation, report)
    except (FitInterruptedError, _LeftError):
        return INTERRUPTED
    say({"event": "finished", **asdict(result)})
    return 0


def _with_weights(ablation: Ablation, say: Say, is_interrupted: Callable[[], bool]) -> Ablation:
    """With fitted weights in place, fitted now unless they are cached."""
    prepared = ablation.prepared
    if prepared.config.weights != "fitted":
        return ablation

    def report(kind: str, fields: Mapping[str, Any]) -> None:
        say({"event": kind, **fields})

    checkpoint = find_checkpoint(prepared.recipe)
    if checkpoint is None:
        say({"event": "phase", "phase": "fit"})
        checkpoint = ensure_fitted(prepared.recipe, prepared.config.device, report, is_interrupted)
    return replace(ablation, prepared=prepared.with_checkpoint(checkpoint))
