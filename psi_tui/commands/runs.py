"""`psi-tui runs`: every run there is."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import rich_click as click

from psi_core.files import runs_directory
from psi_core.runs.chunks import finished_chunks
from psi_core.runs.finding import list_runs
from psi_core.runs.run import Run
from psi_core.tables.summary import run_summary
from psi_tui.commands.options import json_option, runs_dir_option
from psi_tui.shell.console import narrate, output_console, write_result
from psi_tui.text.columns import ScreenColumn, Section, print_table
from psi_tui.text.formatting import format_accuracies, format_age, format_headline, format_progress, json_text


def _shifts(row: Any) -> tuple[str, str]:
    return format_headline(row["shift_layer"], row["shift"], row["shift_control"])


_COLUMNS = (
    ScreenColumn("run", lambda row: row["name"], 9, is_text=True),
    ScreenColumn("model", lambda row: row["model"], 7, is_text=True),
    ScreenColumn("data", lambda row: row["data"], 1, is_text=True),
    ScreenColumn("attack", lambda row: ", ".join(row["attack"]), 2, is_text=True),
    ScreenColumn("epsilon", lambda row: ", ".join(f"{epsilon:g}" for epsilon in row["epsilon"]), 3, is_text=True),
    ScreenColumn("images", lambda row: format_progress(row["images_done"], row["images"]), 6),
    ScreenColumn(
        "accuracy %", lambda row: format_accuracies(row["accuracy_percent"], row["attacked_accuracy_percent"]), 6
    ),
    ScreenColumn("max Δ-control", lambda row: _shifts(row)[0], 5, is_text=True),
    ScreenColumn("Δ", lambda row: _shifts(row)[1], 5, is_text=True),
    ScreenColumn("status", lambda row: row["status"], 8, is_text=True),
    ScreenColumn("age", lambda row: row["age"], 4),
)


@click.command()
@runs_dir_option
@json_option
def runs(runs_dir: str | None, as_json: bool) -> None:
    """List the runs, newest first."""
    now = datetime.now().astimezone()
    rows = [_row(run) for run in list_runs(runs_dir)]
    if as_json:
        write_result(json_text(rows))
        return
    if all(row["is_example"] for row in rows):
        narrate(f"There is no run yet in {runs_directory(runs_dir)}; start one with: psi-tui run --images 500")
    shown = [{**row, "age": "example" if row["is_example"] else format_age(row["created"], now)} for row in rows]
    print_table(output_console(), _COLUMNS, [Section(shown)])


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
