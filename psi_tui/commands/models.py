"""`psi-tui models` and `layers`: what can be measured, as the engine knows it."""

from typing import Any

import rich_click as click

from psi_tui.commands.options import json_option
from psi_tui.engine.client import ask
from psi_tui.shell.bar import waiting
from psi_tui.shell.console import narrate, output_console, write_result
from psi_tui.text.columns import ScreenColumn, Section, pick, print_table, screen_columns
from psi_tui.text.formatting import json_text
from psi_tui.text.models import CHANNEL_AXIS, MODEL_FACTS, layer_fact_columns

_MODEL_COLUMNS = pick(screen_columns(MODEL_FACTS), name=9, family=1, size=4, classes=2, layers=5, parameters=3)

_LAYER_COLUMNS = pick(
    layer_fact_columns(), name=9, module=4, kind=3, shape=6, units=8, channels=1, parameters=7, multiply_adds=5
)

_TAPPED_COLUMN = ScreenColumn("usually", lambda row: "tapped" if row.get("default") else "", 2, is_text=True)


@click.command()
@click.argument("pattern", required=False)
@json_option
def models(pattern: str | None, as_json: bool) -> None:
    """List the models that --model takes; PATTERN is a part of a name."""
    with waiting("asking the engine"):
        found = ask("models", pattern=pattern or "")
    if as_json:
        write_result(json_text(found))
    elif not found:
        narrate(f"No model fits {pattern!r}; psi-tui models lists all.")
    else:
        print_table(output_console(), _MODEL_COLUMNS, [Section(found)])
        narrate("Your own: --model package.module:factory or --model file.py:factory")


@click.command()
@click.argument("model")
@click.option("--size", metavar="", help="network input in pixels (default: the model's own)")
@click.option("--all", "with_all", is_flag=True, help="every layer that can be measured, not only the usual ones")
@json_option
def layers(model: str, size: str | None, with_all: bool, as_json: bool) -> None:
    """List a model's layers, in forward order, by the names that --layers takes."""
    question: dict[str, Any] = {"model": model}
    if size is not None:
        question["size"] = size
    if with_all:
        question["layers"] = ["all"]
    with waiting("asking the engine"):
        found = ask("layers", **question)
    if as_json:
        write_result(json_text(found))
    else:
        columns = (*_LAYER_COLUMNS, *([_TAPPED_COLUMN] if with_all else []), CHANNEL_AXIS)
        print_table(output_console(), columns, [Section(found)])
        if found and (completeness := found[0].get("completeness")):
            narrate(f"By default {completeness}")
