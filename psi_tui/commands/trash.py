"""`psi-tui trash`: the runs that were deleted in the app, and their end."""

import rich_click as click

from psi_core.files import runs_directory
from psi_core.runs.trash import empty_trash, take_from_trash, trashed_runs
from psi_tui.commands.options import runs_dir_option
from psi_tui.shell.console import narrate, write_result


@click.command()
@click.option("--empty", is_flag=True, help="remove them for good")
@click.option("--undo", is_flag=True, help="put the one deleted last back")
@runs_dir_option
def trash(*, empty: bool, undo: bool, runs_dir: str | None) -> None:
    """List the runs that were deleted in the app; after 14 days they are removed for good."""
    folder = runs_directory(runs_dir)
    found = trashed_runs(folder)
    if empty:
        count = empty_trash(folder)
        narrate(f"{count} {'run' if count == 1 else 'runs'} removed for good")
    elif undo and found:
        write_result(str(take_from_trash(found[-1])))
    elif not found:
        narrate(f"the trash of {folder} is empty")
    else:
        for path in found:
            write_result(str(path))
