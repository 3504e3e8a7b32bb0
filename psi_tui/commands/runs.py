"""`psi-tui runs`: every run there is."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import rich_click as click

from psi_core.conditions import epsilon_label
from psi_core.files import runs_directory
from psi_core.runs.chunks import finished_chunks
from psi_core.runs.finding import damaged_runs, list_runs
from psi_core.runs.run import Run
from psi_core.runs.trash import tidy
from psi_core.tables.summary import run_summary
from psi_tui.commands.options import json_option, runs_dir_option
from psi_tui.shell.console import narrate, output_console, write_result
from psi_tui.text.columns import Section, pick, print_table
from psi_tui.text.formatting import json_text
from psi_tui.text.runs import RUN_COLUMNS, age_text

_COLUMNS = pick(
    RUN_COLUMNS,
    run=9,
    model=7,
    data=1,
    attack=2,
    epsilon=3,
    images=6,
    accuracy=6,
    beyond_noise=5,
    shift=5,
    status=8,
    age=4,
)


@click.command()
@runs_dir_option
@json_option
def runs(runs_dir: str | None, as_json: bool) -> None:
    """List the runs, newest first."""
    now = datetime.now().astimezone()
    tidy(runs_directory(runs_dir))
    found = list(list_runs(runs_dir))
    if as_json:
        write_result(json_text([_row(run) for run in found]))
        return
    if all(run.is_example for run in found):
        narrate(f"There is no run yet in {runs_directory(runs_dir)}; start one with: psi-tui run --images 500")
    print_table(output_console(), _COLUMNS, [Section([_shown(run, now) for run in found])])
    for sentence in damaged_runs(runs_dir).values():
        narrate(f"damaged: {sentence}")


def _shown(run: Run, now: datetime) -> dict[str, Any]:
    """A run as RUN_COLUMNS take it."""
    row = _row(run)
    return {
        **row,
        "run": run.name,
        "attack": ", ".join(row["attack"]),
        "epsilon": ", ".join(map(epsilon_label, row["epsilon"])),
        "done": row["images_done"],
        "total": run.images,
        "summary": run_summary(run),
        "age": age_text(run.created_at, run.is_example, now),
    }


def _row(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "directory": str(run.directory),
        "created": run.created,
        "model": run.config.model,
        "data": run.config.data,
        "attack": list(run.config.attack),
        "attacked": run.config.attacked,
        "epsilon": list(run.config.epsilon) if run.config.attack else [],
        "images": run.images,
        "images_done": min(run.images, len(finished_chunks(run.directory)) * run.config.chunk),
        **asdict(run_summary(run)),
        "status": run.status,
        "is_example": run.is_example,
    }
