"""Stopping and resuming all runs that are marked, after one question that names them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from psi_core.errors import attempted, first_of, incomplete
from psi_tui.services.services import MOST_TOLD, Services
from psi_tui.text.columns import LONGEST_NAME, elided
from psi_tui.widgets.dialogs import ConfirmDialog

if TYPE_CHECKING:
    from psi_tui.runs.run_list import RunEntry


def stop_runs(app: Services, runs: "Sequence[RunEntry]") -> None:
    """Asks the workers of those that have some to leave after their chunks.

    Args:
        app: that asks.
        runs: that are marked.
    """
    from psi_core.runs.status import can_stop, request_stop

    running = [run for run in runs if can_stop(run.progress.status)]
    if not running:
        app.say(f"{_none_of(runs)} is running; nothing to stop")
        return

    def answered(is_sure: bool | None) -> None:
        if not is_sure:
            return
        asked, refusals = attempted(lambda run: request_stop(run.directory), running)
        if len(asked) == 1:
            app.say(f"{asked[0].name} stops after its open chunk; r resumes it")
        elif asked:
            app.say(f"{len(asked)} runs stop after their open chunks; r resumes them")
        if refusals:
            app.show_error(incomplete("stop", len(asked), refusals, MOST_TOLD))

    after = "after its open chunk" if len(running) == 1 else "after their open chunks"
    app.push_screen(ConfirmDialog(f"Stop {_counted(running)} {after}?\n{_listed(running)}", yes="stop"), answered)


def resume_runs(app: Services, runs: "Sequence[RunEntry]") -> None:
    """Computes the missing chunks of those that lack some, each in a process of its own.

    Args:
        app: that asks.
        runs: that are marked.
    """
    from psi_core.runs.status import can_resume

    resting = [run for run in runs if can_resume(run.progress.status) and not run.is_example]
    if not resting:
        app.say(f"{_none_of(runs)} rests unfinished; nothing to resume")
        return

    def answered(is_sure: bool | None) -> None:
        for run in resting if is_sure else ():
            app.resume_run(run.directory, run.name)

    at_once = "" if len(resting) == 1 else ", all at once"
    app.push_screen(ConfirmDialog(f"Resume {_counted(resting)}{at_once}?\n{_listed(resting)}", yes="resume"), answered)


def _none_of(runs: "Sequence[RunEntry]") -> str:
    return f"none of {len(runs)} marked runs"


def _counted(runs: "Sequence[RunEntry]") -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs)} runs"


def _listed(runs: "Sequence[RunEntry]") -> str:
    """Names with commas; of many the first ones."""
    return first_of([elided(run.name, LONGEST_NAME) for run in runs], MOST_TOLD)
