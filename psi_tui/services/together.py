"""Stopping and resuming all runs that are marked, after one question that names them, and what is said of several."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from psi_core.errors import attempted, first_of, incomplete
from psi_core.plain_text import counted
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
        of_one, of_several = "stops after its open chunk; r resumes it", "stop after their open chunks; r resumes them"
        tell(app, [run.name for run in asked], of_one, of_several)
        tell_refused(app, "stop", len(asked), refusals)

    after = "after its open chunk" if len(running) == 1 else "after their open chunks"
    names = listed([run.name for run in running])
    app.push_screen(ConfirmDialog(f"Stop {counted(len(running), 'run')} {after}?\n{names}", yes="stop"), answered)


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
    names = listed([run.name for run in resting])
    app.push_screen(ConfirmDialog(f"Resume {counted(len(resting), 'run')}{at_once}?\n{names}", yes="resume"), answered)


def _none_of(runs: "Sequence[RunEntry]") -> str:
    return f"none of {len(runs)} marked runs"


def listed(names: Sequence[str]) -> str:
    """Names with commas; of many the first ones."""
    return first_of([elided(name, LONGEST_NAME) for name in names], MOST_TOLD)


def tell(app: Services, names: Sequence[str], of_one: str, of_several: str) -> None:
    """Says what was done to runs: of one by its name, of several by their number, of none nothing."""
    if names:
        app.say(f"{names[0]} {of_one}" if len(names) == 1 else f"{len(names)} runs {of_several}")


def tell_refused(app: Services, what: str, done: int, refusals: Sequence[str]) -> None:
    """Shows why some were left out, if any were.

    Args:
        app: that shows it.
        what: became of the others.
        done: how many others there are.
        refusals: why each was left out.
    """
    if refusals:
        app.show_error(incomplete(what, done, refusals, MOST_TOLD))
