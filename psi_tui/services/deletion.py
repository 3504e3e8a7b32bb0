"""Deleting runs, after a question, and bringing them back."""

from collections.abc import Sequence
from pathlib import Path

from psi_core.errors import PsiError, attempted, first_of
from psi_tui.services.services import Services
from psi_tui.services.together import listed, tell, tell_refused
from psi_tui.widgets.dialogs import ConfirmDialog


def undo_delete(app: Services) -> None:
    """Brings the run back that was deleted last, in this session or before."""
    from psi_core.runs.trash import take_from_trash, trashed_runs

    found = trashed_runs(app.runs_dir)
    if not found:
        app.say("nothing was deleted in the last 14 days")
        return
    name = _was_called(found[-1])
    try:
        take_from_trash(found[-1])
    except PsiError as error:
        app.show_error(error)
    else:
        app.say(f"{name} is back")


def delete_runs(app: Services, runs: Sequence[tuple[Path, str]], words: str = "") -> None:
    """Moves runs to the trash after one question; those that must stay are left out, and told.

    Args:
        app: that asks.
        runs: directory and name of each.
        words: what is said of them beside their names.
    """
    from psi_core.runs.deletion import require_deletable
    from psi_core.runs.trash import put_in_trash

    def require(run: tuple[Path, str]) -> None:
        require_deletable(run[0], way_to_stop="x")

    deletable, refusals = attempted(require, runs)
    if refusals:
        app.say(first_of(refusals, between="; "))
    if not deletable:
        return

    def delete(run: tuple[Path, str]) -> None:
        require(run)  # It may have been resumed since.
        if run[0] == app.open_directory:
            app.close_run()
        put_in_trash(run[0])

    def answered(is_sure: bool | None) -> None:
        if not is_sure:
            return
        gone, kept = attempted(delete, deletable)
        of_one, of_several = "u brings it back, for 14 days", "u brings them back one by one, for 14 days"
        tell(app, [name for _, name in gone], f"is deleted; {of_one}", f"are deleted; {of_several}")
        tell_refused(app, "are deleted", len(gone), kept)

    if len(deletable) == 1:
        ((directory, name),) = deletable
        question = f"Delete {name}{words} with all its results?\n{directory}"
    else:
        question = f"Delete {len(deletable)} runs with all their results?\n{listed([name for _, name in deletable])}"
    app.push_screen(ConfirmDialog(question, yes="delete"), answered)


def _was_called(trashed: Path) -> str:
    """The name of a run in the trash, as its list had it."""
    from psi_core.runs.run import Run

    try:
        return Run(trashed).name
    except (PsiError, OSError):
        return trashed.name
