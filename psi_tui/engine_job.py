"""One piece of work of the engine with a live bar, until its last word: what `fit` and `ablate` have in common."""

import signal
from typing import Any

from psi_tui.bar import ProgressView, progress_view
from psi_tui.child import Child, EngineError, listening, on_interrupt
from psi_tui.progress import Progress

INTERRUPTED = 130
"""Exit code of a command whose work was interrupted."""


def finished_job(command: str, question: dict[str, Any], *, hint: str) -> dict[str, Any] | None:
    """The last word of `python -m psi_core COMMAND`, or None where it was interrupted.

    The first Ctrl-C asks the child to leave, a second one makes it.

    Args:
        command: that tells events `fit`, `progress`, `phase`, `warning` and at last `finished`.
        question: for its standard input.
        hint: what Ctrl-C does, shown beside the bar.

    Raises:
        PsiError: the child refused.
        EngineError: it failed, or ended without a word.
    """
    child = Child([command], question)
    presses = 0

    def press(number: int) -> None:
        nonlocal presses
        presses = number
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGTERM if number == 1 else signal.SIGKILL)

    with listening(child), on_interrupt(press), progress_view(hint=hint) as view:
        view.update(Progress("running", "load"))
        finished = _last_word(child, view)
    status = child.process.wait()
    if finished is None and not presses:
        raise EngineError(f"{command}: ended with status {status} and no word; its message stands above")
    return finished


def _last_word(child: Child, view: ProgressView) -> dict[str, Any] | None:
    """The child's event `finished`, or None where it left without one."""
    for answer in child.answers():
        match answer.get("event"):
            case "fit" | "progress":
                view.update(
                    Progress(
                        "running",
                        answer.get("phase", "fit"),
                        int(answer.get("done", 0)),
                        int(answer.get("total", 0)),
                        answer.get("images_per_second"),
                        loss=answer.get("loss"),
                        accuracy=answer.get("accuracy"),
                    )
                )
            case "phase":
                view.say("the model's weights are fitted first, and kept")
            case "warning":
                view.say(f"warning: {answer.get('text', '')}")
            case "finished":
                return dict(answer)
    return None
