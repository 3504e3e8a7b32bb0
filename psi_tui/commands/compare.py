"""`psi-tui compare`: runs side by side, as the app's fifth screen shows them."""

import rich_click as click

from psi_core.errors import ConfigError, unknown_name
from psi_core.runs.finding import load_run
from psi_core.tables.registry import cached_rows
from psi_tui.commands.options import json_option, runs_dir_option
from psi_tui.screens.comparison import (
    LETTERS,
    QUANTITIES,
    ComparedRun,
    common_conditions,
    comparison_columns,
    comparison_rows,
    configuration_differences,
    default_conditions,
    differences_line,
    quantity_title,
)
from psi_tui.shell.bar import waiting
from psi_tui.shell.completion import complete_condition, complete_run, one_of
from psi_tui.shell.console import output_console, write_result
from psi_tui.text.columns import Section, print_table
from psi_tui.text.formatting import json_text


@click.command()
@click.argument("runs", nargs=-1, required=True, shell_complete=complete_run)
@click.option(
    "--quantity",
    default="shift",
    metavar="",
    shell_complete=one_of(QUANTITIES),
    help=f"{', '.join(QUANTITIES)} (default: shift)",
)
@click.option(
    "--condition",
    metavar="",
    shell_complete=complete_condition,
    help="one that all have (default: the strongest attack that all have)",
)
@runs_dir_option
@json_option
def compare(
    *, runs: tuple[str, ...], quantity: str, condition: str | None, runs_dir: str | None, as_json: bool
) -> None:
    """Compare two runs or more, layer by layer, under an attack that all have, or else each its own."""
    if quantity not in QUANTITIES:
        raise ConfigError(unknown_name("quantity", quantity, QUANTITIES))
    if not 2 <= len(runs) <= len(LETTERS):
        raise ConfigError(f"compare: {len(runs)} run named; write two or more, such as psi-tui compare RUN RUN")
    found = [load_run(text, runs_dir) for text in runs]
    common = common_conditions(found)
    if condition is not None and condition not in common:
        raise ConfigError(unknown_name("condition", condition, common or ["(these runs have none in common)"]))
    conditions = default_conditions(found) if condition is None else [condition] * len(found)
    compared = []
    for letter, run, under in zip(LETTERS, found, conditions, strict=False):
        with waiting(f"comparing the conditions of {run.name}"):
            compared.append(ComparedRun.from_rows(letter, run.name, under, cached_rows(run, "layers")))
    chosen, those = QUANTITIES[quantity], tuple(compared)
    rows = [*comparison_rows(those, chosen).values()]
    if as_json:
        write_result(json_text({"quantity": quantity, "runs": [each.name for each in those], "layers": rows}))
        return
    console = output_console()
    for each in those:
        console.print(each.legend, soft_wrap=True, markup=False)
    console.print(differences_line(configuration_differences(found)), soft_wrap=True, markup=False)
    console.print(quantity_title(those, chosen), style="bold", soft_wrap=True, markup=False)
    print_table(console, comparison_columns(those, chosen), [Section(rows)])
