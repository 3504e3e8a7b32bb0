"""`psi-tui report`: a run on one page, or in some lines."""

import rich_click as click

from psi_core.errors import ConfigError, unknown_name
from psi_core.files import typed_path
from psi_core.runs.finding import load_run
from psi_tui.commands.options import run_argument, runs_dir_option
from psi_tui.shell.completion import complete_condition
from psi_tui.shell.console import narrate, write_file, write_result
from psi_tui.shell.report import card, html_report, markdown_report, report_parts

_SUFFIXES = (".html", ".md")


@click.command()
@run_argument
@click.option("--to", "file", metavar="", help="file to write, .html or .md; default: Markdown to standard output")
@click.option(
    "--condition",
    metavar="",
    shell_complete=complete_condition,
    help="what the plots compare with benign (default: the attack)",
)
@click.option("--card", "is_short", is_flag=True, help="print the finding alone, in short lines for a chat")
@click.option("--replace", is_flag=True, help="replace the file where there is one")
@runs_dir_option
def report(
    *, run: str, file: str | None, condition: str | None, is_short: bool, replace: bool, runs_dir: str | None
) -> None:
    """Write a run as one page: verdicts, evidence, plots, configuration, and the command that makes it again."""
    path = None if file is None else typed_path(file)
    if path is not None and path.suffix not in _SUFFIXES:
        raise ConfigError(f"to: {path.name} ends in none of {', '.join(_SUFFIXES)}; write report.html or report.md")
    found = load_run(run, runs_dir)
    known = found.conditions[1:] or found.conditions
    if condition is not None and condition not in known:
        raise ConfigError(unknown_name("condition", condition, known))
    if found.missing_chunks:
        narrate(f"{found.name} is not finished; the report holds what is there")
    if is_short:
        text = f"{card(found)}\n"
    else:
        write = html_report if path is not None and path.suffix == ".html" else markdown_report
        text = write(found.name, report_parts(found, condition))
    if path is None:
        write_result(text.rstrip())
    else:
        write_file(path, text.encode(), replace=replace)
        write_result(str(path))
