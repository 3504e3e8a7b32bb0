"""`psi-tui compare`: runs side by side, as the app's fifth screen shows them."""

import rich_click as click

from psi_core.errors import ConfigError, unknown_name
from psi_core.runs.finding import load_run
from psi_core.tables.registry import cached_rows
from psi_tui.commands.options import json_option, runs_dir_option
from psi_tui.screens.comparison import (
    LETTERS,
    NOTHING_IN_COMMON,
    QUANTITIES,
    ComparedRun,
    common_conditions,
    comparison_columns,
    comparison_rows,
    configuration_differences,
    default_conditions,
    default_quantity,
    differences_line,
    has_verdicts,
    have_common_layers,
    quantity_title,
)
from psi_tui.shell.bar import waiting
from psi_tui.shell.completion import complete_condition, complete_run, one_of
from psi_tui.shell.console import output_console, print_sentence, write_result
from psi_tui.text.columns import Section, print_table
from psi_tui.text.formatting import GLYPH_WORDS, json_text


@click.command()
@click.argument("runs", nargs=-1, required=True, shell_complete=complete_run)
@click.option(
    "--quantity",
    metavar="",
    shell_complete=one_of(QUANTITIES),
    help=f"{', '.join(QUANTITIES)} (default: effect, beyond noise; without noise shift)",
)
@click.option(
    "--condition",
    metavar="",
    shell_complete=complete_condition,
    help="condition to compare (default: the strongest attack that all have)",
)
@runs_dir_option
@json_option
def compare(
    *, runs: tuple[str, ...], quantity: str | None, condition: str | None, runs_dir: str | None, as_json: bool
) -> None:
    """Compare two runs or more, layer by layer, under an attack that all have, or else each its own."""
    if quantity is not None and quantity not in QUANTITIES:
        raise ConfigError(unknown_name("quantity", quantity, QUANTITIES))
    if not 2 <= len(runs) <= len(LETTERS):
        raise ConfigError(f"compare: {len(runs)} run named; write two or more, such as psi-tui compare RUN RUN")
    found = [load_run(text, runs_dir) for text in runs]
    common = common_conditions(found)
    if condition is not None and condition not in common:
        raise ConfigError(unknown_name("condition", condition, common or ["(these runs have none in common)"]))
    conditions = default_conditions(found) if condition is None else [condition] * len(found)
    compared, tables = [], []
    for letter, run, under in zip(LETTERS, found, conditions, strict=False):
        with waiting(f"comparing the conditions of {run.name}"):
            tables.append(cached_rows(run, "layers"))
        compared.append(ComparedRun.from_rows(letter, run.name, under, tables[-1]))
    quantity = quantity or default_quantity(tables)
    chosen, those = QUANTITIES[quantity], tuple(compared)
    rows, differences = [*comparison_rows(those, chosen).values()], configuration_differences(found)
    if as_json:
        answer = {
            "quantity": quantity,
            "column": chosen.column,
            "runs": [each.name for each in those],
            "ids": [run.id for run in found],
            "conditions": [each.condition for each in those],
            "controls": [each.control for each in those],
            "accuracy_percent": [each.accuracies[0] for each in those],
            "attacked_accuracy_percent": [each.accuracies[1] for each in those],
            "differences": differences,
            "layers": rows,
        }
        write_result(json_text(answer))
        return
    console = output_console()
    for each in those:
        print_sentence(console, each.legend, indent=3)
    print_sentence(console, differences_line(differences), indent=2)
    if not have_common_layers(those):
        print_sentence(console, NOTHING_IN_COMMON)
    print_sentence(console, quantity_title(those, chosen), "bold")
    print_table(console, comparison_columns(those, chosen), [Section(rows)])
    if has_verdicts(chosen):
        print_sentence(console, GLYPH_WORDS, "dim")
