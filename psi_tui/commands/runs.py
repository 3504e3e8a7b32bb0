"""`psi-tui runs`: every run there is, or those that a filter chooses."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import rich_click as click

from psi_core.errors import PsiError
from psi_core.files import runs_directory
from psi_core.plain_text import counted, plain_line
from psi_core.runs.finding import damaged_runs, list_runs
from psi_core.runs.labels import LABEL
from psi_core.runs.run import Run
from psi_core.runs.status import StatusReader
from psi_core.runs.trash import tidy
from psi_core.tables.summary import run_summary
from psi_tui.commands.options import json_option, runs_dir_option
from psi_tui.runs.progress import progress_of
from psi_tui.runs.run_filter import FIELDS, run_filter
from psi_tui.runs.run_list import RunEntry, entry_of, run_row
from psi_tui.shell.completion import one_of
from psi_tui.shell.console import narrate, output_console, write_result
from psi_tui.text.columns import Section, pick, print_table
from psi_tui.text.formatting import json_text
from psi_tui.text.runs import NOT_TRUSTED, NOT_TRUSTED_WORDS, RUN_COLUMNS

_COLUMNS = pick(
    RUN_COLUMNS,
    run=9,
    model=7,
    data=1,
    attack=5,
    images=4,
    accuracy=6,
    beyond_noise=6,
    shift=2,
    tags=3,
    status=8,
    age=2,
)


@click.command()
@click.argument("words", nargs=-1, metavar="[FILTER]...", shell_complete=one_of(f"{name}:" for name in FIELDS))
@runs_dir_option
@json_option
def runs(words: tuple[str, ...], runs_dir: str | None, as_json: bool) -> None:
    """List the runs, newest first; with a filter those that fit, such as tag:paper or 'eps>0.03'.

    A ? before a model: it is code not made here, and runs only with --trust.
    """
    now = datetime.now().astimezone()
    tidy(runs_directory(runs_dir))
    fits = run_filter(" ".join(words))
    every, damaged = [], [*damaged_runs(runs_dir).values()]
    for run in list_runs(runs_dir):
        try:
            every.append((run, _entry(run)))
        except PsiError as error:  # Its configuration can be read, and what it has done cannot.
            damaged.append(str(error))
    found = [(run, entry) for run, entry in every if fits(entry)]
    if as_json:
        write_result(json_text([_row(run, entry) for run, entry in found]))
    elif words and not found:
        there = counted(len(every), "run")
        narrate(f"None of {there} fits {' '.join(words)!r}; write {', '.join(FIELDS)} with : = != < or >")
    else:
        if all(run.is_example for run, _ in every):
            narrate(f"There is no run yet in {runs_directory(runs_dir)}; start one with: psi-tui run --images 500")
        print_table(output_console(), _COLUMNS, [Section([run_row(entry, now) for _, entry in found])])
        if any(entry.needs_trust for _, entry in found):
            narrate(f"{NOT_TRUSTED}: {NOT_TRUSTED_WORDS}")
    for run, _ in found:
        if run.label.trouble:
            narrate(plain_line(f"damaged: {run.directory / LABEL} {run.label.trouble}"))
    for sentence in damaged:
        narrate(f"damaged: {sentence}")


def _entry(run: Run) -> RunEntry:
    return entry_of(run, progress_of(run, StatusReader(run.directory).poll()), run_summary(run))


def _row(run: Run, entry: RunEntry) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "tags": list(run.tags),
        "note": run.note,
        "directory": str(run.directory),
        "created": run.created,
        "model": run.config.model,
        "needs_trust": entry.needs_trust,
        "data": run.config.data,
        "attack": list(run.config.attack),
        "attacked": run.config.attacked,
        "epsilon": list(run.config.epsilon) if run.config.attack else [],
        "images": run.images,
        "images_done": run.images_done,
        **asdict(run_summary(run)),
        "status": entry.progress.status,
        "is_example": run.is_example,
    }
