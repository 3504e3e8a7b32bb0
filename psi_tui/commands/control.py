"""`psi-tui stop`, `resume`, `verify`, `delete` and `trash`: what can be done to a run that exists, or did."""

import random
import sys
from dataclasses import asdict

import rich_click as click

from psi_core.errors import ConfigError, RunError
from psi_core.files import runs_directory
from psi_core.plain_text import counted
from psi_core.runs.deletion import delete_run, require_deletable
from psi_core.runs.finding import load_run
from psi_core.runs.run import Run
from psi_core.runs.status import can_stop, request_stop
from psi_core.runs.trash import TRASH, empty_trash, take_from_trash, tidy, trashed_bytes, trashed_runs
from psi_core.runs.verification import Verified
from psi_core.runs.verification import verify as verified_parts
from psi_tui.commands.options import json_option, run_argument, runs_dir_option, trust_option, trust_run
from psi_tui.commands.run import start_and_follow
from psi_tui.engine.client import ask
from psi_tui.shell.bar import waiting
from psi_tui.shell.console import narrate, output_console, print_sentence, write_result
from psi_tui.text.formatting import format_bytes, json_text

_WRONG = 1
"""Exit code of `verify` where something is wrong."""


@click.command()
@run_argument
@runs_dir_option
def stop(run: str, runs_dir: str | None) -> None:
    """Stop a run once its open chunk is finished."""
    found = load_run(run, runs_dir)
    status = found.status
    if not can_stop(status):
        raise RunError(f"stop: {found.name} is {status}, not running; psi-tui runs lists the runs")
    request_stop(found.directory)
    narrate(f"{found.name} stops after its open chunk; go on with: psi-tui resume {found.id}")


@click.command()
@run_argument
@runs_dir_option
@click.option("--detach", is_flag=True, help="print the run's path and return; the run goes on")
@click.option("--quiet", is_flag=True, help="no bar, no narration, no table; warnings and errors only")
@trust_option
@click.pass_context
def resume(
    context: click.RichContext, *, run: str, runs_dir: str | None, detach: bool, quiet: bool, trust: bool
) -> None:
    """Make the chunks that a stopped, failed or lost run still misses, and those that are damaged."""
    found = load_run(run, runs_dir)
    if trust:
        trust_run(found)
    if reason := found.why_not_resumed():
        if found.is_example or found.status != "done":
            raise RunError(f"resume: {found.name} {reason}")
        narrate(f"{found.name} {reason}")
        return
    context.exit(start_and_follow("resume", detach=detach, quiet=quiet, run=str(found.directory)))


@click.command()
@run_argument
@click.option("--recompute", type=click.IntRange(1), metavar="N", help="compute N random chunks again, compare bits")
@trust_option
@runs_dir_option
@json_option
@click.pass_context
def verify(
    context: click.RichContext, *, run: str, recompute: int | None, trust: bool, runs_dir: str | None, as_json: bool
) -> None:
    """Compare a run with what its workers wrote: digests, configuration, weights.

    Exits with 0 where nothing is wrong, and says what could not be checked; with 1 where something is wrong.
    """
    found = load_run(run, runs_dir)
    if trust:
        trust_run(found)
    parts = verified_parts(found)
    again = [] if recompute is None else _computed_again(found, recompute)
    parts += again
    is_right = all(part.verdict != "wrong" for part in parts)
    if as_json:
        rows = [asdict(part) for part in parts]
        write_result(json_text({"run": found.id, "directory": found.directory, "right": is_right, "parts": rows}))
    else:
        console = output_console()
        name_width = max(len(part.name) for part in parts)
        for part in parts:
            beside = f"{part.name:<{name_width}}  {part.verdict:<11}  "
            print_sentence(console, f"{beside}{part.words}", indent=len(beside))
        is_whole = all(part.verdict == "right" for part in again)
        right = "right" if is_whole else "nothing wrong was found, and what was to be computed again was not checked"
        print_sentence(console, f"{found.name}: {right if is_right else 'wrong'}")
    context.exit(0 if is_right else _WRONG)


def _computed_again(run: Run, count: int) -> list[Verified]:
    """Parts for random chunks that the engine computes again."""
    finished = run.finished_chunks
    if not finished:
        return [Verified("computed again", "not checked", "no chunk is finished yet")]
    numbers = sorted(random.sample(finished, min(count, len(finished))))
    with waiting(f"computing {len(numbers)} of {counted(len(finished), 'chunk')} again"):
        answer = ask("recompute", run=str(run.directory), numbers=numbers)
    return [Verified(**row) for row in answer]


@click.command()
@run_argument
@runs_dir_option
@click.option("--yes", is_flag=True, help="do not ask")
@click.option("--force", is_flag=True, help="also a run that does not lie in the runs directory")
def delete(run: str, runs_dir: str | None, yes: bool, force: bool) -> None:
    """Delete a run and all its results.

    Only what a run writes is removed, in a directory that is named as the run is; other files stay.
    """
    tidy(runs_directory(runs_dir))
    found = load_run(run, runs_dir)
    require_deletable(found.directory)
    if not force and found.directory.resolve().parent != runs_directory(runs_dir).resolve():
        raise RunError(
            f"delete: {found.directory} does not lie in {runs_directory(runs_dir)}; add --force if you mean it"
        )
    if not yes:
        _ask("delete", f"Delete {found.name} with all its results in {found.directory}?")
    left = delete_run(found.directory)
    stays = f"; {found.directory} stays, with what no run writes: {', '.join(left)}" if left else ""
    narrate(f"{found.name} is deleted{stays}")


@click.command()
@click.option("--empty", is_flag=True, help="remove them for good")
@click.option("--undo", is_flag=True, help="put the one deleted last back")
@click.option("--yes", is_flag=True, help="do not ask before --empty")
@runs_dir_option
def trash(*, empty: bool, undo: bool, yes: bool, runs_dir: str | None) -> None:
    """List the runs that were deleted in the app; after 14 days they are removed for good."""
    if empty and undo:
        raise ConfigError("trash: --empty and --undo exclude each other; write one of them")
    folder = runs_directory(runs_dir)
    tidy(folder)
    found = trashed_runs(folder)
    if not found:
        narrate(f"the trash of {folder} is empty")
    elif empty:
        runs = f"{len(found)} {'run' if len(found) == 1 else 'runs'}"
        if not yes:
            _ask("trash", f"Remove {runs}, {format_bytes(trashed_bytes(folder))}, from {folder / TRASH} for good?")
        empty_trash(folder)
        narrate(f"{runs} removed for good")
    elif undo:
        write_result(str(take_from_trash(found[-1])))
    else:
        for path in found:
            write_result(str(path))


def _ask(command: str, question: str) -> None:
    """Lets the user confirm what cannot be undone.

    Raises:
        ConfigError: there is no terminal to ask at.
    """
    if not sys.stdin.isatty():
        raise ConfigError(f"{command}: there is no terminal to ask at; write --yes")
    click.confirm(question, abort=True, err=True)
