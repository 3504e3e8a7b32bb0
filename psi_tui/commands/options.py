"""Options that several commands share. The command's own group needs them, so nothing heavy is imported here."""

from typing import TYPE_CHECKING

import rich_click as click

from psi_core.errors import ConfigError, unknown_name
from psi_tui.shell.completion import complete_run

if TYPE_CHECKING:
    from psi_core.runs.run import Run

runs_dir_option = click.option(
    "--runs-dir", metavar="DIR", help="folder of the run directories (default: $PSI_RUNS_DIR, else your data folder)"
)
json_option = click.option("--json", "as_json", is_flag=True, help="print JSON instead of a table, in full precision")
ascii_option = click.option("--ascii", "ascii_only", is_flag=True, help="the app draws with ASCII alone")
trust_option = click.option(
    "--trust", is_flag=True, help="run the code that the run's model names, though the run was not made here"
)
run_argument = click.argument("run", shell_complete=complete_run)
"""A run by path, id, unique name, unique prefix, the end of an id, or `latest`."""


def trust_run(run: "Run") -> None:
    """Trusts a run, and tells where that cannot be remembered."""
    from psi_core.runs.trust import trust
    from psi_tui.shell.console import narrate

    if told := trust(run):
        narrate(told)


def chosen_format(format: str | None, *, as_json: bool) -> str | None:  # noqa: A002
    """The format asked for, or None for the screen; `--json` is `--format json`.

    Raises:
        ConfigError: there is no such format, or it is not JSON and `--json` is there too.
    """
    from psi_core.tables.export import FORMATS

    if format is None:
        return "json" if as_json else None
    if format not in FORMATS:
        raise ConfigError(unknown_name("format", format, FORMATS))
    if as_json and format != "json":
        raise ConfigError(f"format: --json and --format {format} exclude each other; write one of them")
    return format
