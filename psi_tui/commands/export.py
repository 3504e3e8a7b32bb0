"""`psi-tui export`: a run's tables as files."""

import rich_click as click

from psi_core.errors import ConfigError, unknown_name
from psi_core.export import FORMATS, export_run
from psi_core.run_index import load_run
from psi_core.tables import TABLES
from psi_tui.console import narrate, write_result
from psi_tui.options import run_argument, runs_dir_option


@click.command()
@run_argument
@click.option("--to", "folder", metavar="", required=True, help="folder to write into; made where it is missing")
@click.option("--format", default="csv", metavar="", help=f"{', '.join(FORMATS)} (default: csv)")
@click.option("--tables", metavar="", help=f"with commas: {', '.join(TABLES)} (default: all)")
@runs_dir_option
def export(*, run: str, folder: str, format: str, tables: str | None, runs_dir: str | None) -> None:  # noqa: A002
    """Write a run's tables as files: CSV and JSON in full precision, Markdown and LaTeX for the page."""
    if format not in FORMATS:
        raise ConfigError(unknown_name("format", format, FORMATS))
    names = list(TABLES) if tables is None else [name.strip() for name in tables.split(",")]
    found = load_run(run, runs_dir)
    if found.missing_chunks:
        narrate(f"{found.name} is not finished; these tables hold what is there")
    for path in export_run(found, folder, format, names):
        write_result(str(path))
