"""`psi-tui watch`: a second viewer of a run, wherever it was started."""

import rich_click as click

from psi_core.runs.finding import find_run
from psi_tui.commands.options import run_argument, runs_dir_option
from psi_tui.shell.follow import follow


@click.command()
@run_argument
@runs_dir_option
@click.pass_context
def watch(context: click.RichContext, run: str, runs_dir: str | None) -> None:
    """Watch a run until it ends; Ctrl-C leaves it running."""
    context.exit(follow(find_run(run, runs_dir), is_ours=False))
