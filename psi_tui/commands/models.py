"""`psi-tui models` and `layers`: what can be measured, as the engine knows it."""

from typing import Any

import rich_click as click

from psi_tui.commands.options import json_option
from psi_tui.engine.child import ask
from psi_tui.shell.bar import waiting
from psi_tui.shell.console import narrate, output_console, write_result
from psi_tui.text.columns import ScreenColumn, Section, print_table
from psi_tui.text.formatting import MISSING, format_count, format_large, format_shape, json_text


def _number(row: Any, name: str) -> str:
    return MISSING if row.get(name) is None else format_count(row[name])


_MODEL_COLUMNS = (
    ScreenColumn("model", lambda row: row["name"], 9, is_text=True),
    ScreenColumn("family", lambda row: row.get("family") or MISSING, 1, is_text=True),
    ScreenColumn("input", lambda row: _number(row, "size"), 4),
    ScreenColumn("classes", lambda row: _number(row, "classes"), 2),
    ScreenColumn("layers", lambda row: _number(row, "layers"), 5),
    ScreenColumn("parameters", lambda row: format_large(row.get("parameters")), 3),
)

_LAYER_COLUMNS = (
    ScreenColumn("layer", lambda row: row["name"], 9, is_text=True),
    ScreenColumn("module", lambda row: row["module"], 4, is_text=True),
    ScreenColumn("kind", lambda row: row["kind"], 3, is_text=True),
    ScreenColumn("shape", lambda row: format_shape(row["shape"]), 6, is_text=True),
    ScreenColumn("units", lambda row: _number(row, "units"), 8),
    ScreenColumn("channels", lambda row: _number(row, "channels"), 1),
    ScreenColumn("parameters", lambda row: format_large(row.get("parameters")), 7),
    ScreenColumn("multiply-adds", lambda row: format_large(row.get("multiply_adds")), 5),
)

_TAPPED_COLUMN = ScreenColumn("usually", lambda row: "tapped" if row.get("default") else "", 2, is_text=True)


@click.command()
@click.argument("pattern", required=False)
@json_option
def models(pattern: str | None, as_json: bool) -> None:
    """List the models that --model takes; PATTERN is a part of a name."""
    with waiting("asking the engine"):
        found = ask(["models", *([pattern] if pattern else [])])
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
        found = ask(["layers"], question)
    if as_json:
        write_result(json_text(found))
    else:
        columns = (*_LAYER_COLUMNS, _TAPPED_COLUMN) if with_all else _LAYER_COLUMNS
        print_table(output_console(), columns, [Section(found)])
