"""Options of commands that are made from RunConfig's fields, and what was typed of them."""

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import rich_click as click
from click.core import ParameterSource

from psi_core.config import RunConfig, RunOptions
from psi_core.options import REST, choices_of, flag_of, option_groups, option_of, option_text
from psi_tui.shell.completion import one_of, some_of

Command = TypeVar("Command", bound=Callable[..., Any])


def config_options(
    command: Command, fields: Collection[str] = RunConfig.model_fields, config: type[RunOptions] = RunConfig
) -> Command:
    """Gives a command one option for each field of a configuration, or for some of them, in the order of the fields.

    Values are passed on as they were typed: the configuration alone says what is right.
    """
    for name, info in reversed(config.model_fields.items()):
        if name not in fields:
            continue
        help_text = ": ".join(filter(None, (info.description, ", ".join(choices_of(info)))))
        if info.annotation is bool:
            command = click.option(flag_of(name), name, is_flag=True, help=help_text)(command)
            continue
        default = option_text(info.default)
        known = option_of(info)
        values = known.names or choices_of(info) or (*known.choices, *known.suggestions)
        command = click.option(
            flag_of(name),
            name,
            metavar="",
            default=default,
            show_default=bool(default),
            shell_complete=(some_of if known.names else one_of)(values),
            help=help_text,
        )(command)
    return command


def config_panels(command: Command) -> Command:
    """Groups the options of RunConfig in a command's help as the form groups them; the rest stay with its own."""
    for heading, names in reversed(option_groups(RunConfig.model_fields).items()):
        if heading != REST:
            command = click.option_panel(heading, options=[flag_of(name) for name in names])(command)
    return command


def typed_values(context: click.Context, config: type[RunOptions] = RunConfig) -> dict[str, Any]:
    """The fields of a configuration that were typed on this command line: text, or True for a flag."""
    sources = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return {
        name: context.params[name]
        for name in config.model_fields
        if name in context.params and context.get_parameter_source(name) in sources
    }
