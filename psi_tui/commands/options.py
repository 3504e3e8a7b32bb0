"""Options that several commands share, and those of `run`, which are made from RunConfig's fields."""

from collections.abc import Callable, Collection
from typing import Any, Literal, TypeVar, get_args, get_origin

import rich_click as click
from click.core import ParameterSource
from pydantic.fields import FieldInfo

from psi_core.config import RunConfig

Command = TypeVar("Command", bound=Callable[..., Any])

runs_dir_option = click.option(
    "--runs-dir", metavar="DIR", help="folder of the run directories (default: $PSI_RUNS_DIR, else your data folder)"
)
json_option = click.option("--json", "as_json", is_flag=True, help="print JSON instead of a table, in full precision")
ascii_option = click.option("--ascii", "ascii_only", is_flag=True, help="the app draws with ASCII alone")
run_argument = click.argument("run")
"""A run by path, id, unique name, unique prefix, or `latest`."""


def config_options(command: Command, fields: Collection[str] = RunConfig.model_fields) -> Command:
    """Gives a command one option for each field of RunConfig, or for some of them, in the order of the fields.

    Values are passed on as they were typed: RunConfig alone says what is right.
    """
    for name, field in reversed(RunConfig.model_fields.items()):
        if name not in fields:
            continue
        default = _default_text(field)
        option = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            command = click.option(option, name, is_flag=True, help=_help_text(field))(command)
            continue
        command = click.option(
            option,
            name,
            metavar="",
            default=default,
            show_default=bool(default),
            help=_help_text(field),
        )(command)
    return command


def typed_values(context: click.Context) -> dict[str, Any]:
    """The RunConfig fields that were typed on this command line: text, or True for a flag."""
    sources = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return {
        name: context.params[name]
        for name in RunConfig.model_fields
        if name in context.params and context.get_parameter_source(name) in sources
    }


def _help_text(field: FieldInfo) -> str:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return (field.description or "") + (": " + ", ".join(map(str, choices)) if choices else "")


def _default_text(field: FieldInfo) -> str:
    if field.default is None:
        return ""
    return ",".join(str(part) for part in field.default) if isinstance(field.default, tuple) else str(field.default)
