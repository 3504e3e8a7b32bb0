"""The `psi-tui` command: its group, its exit codes, and the door at which every error becomes one sentence.

Exit codes: 0 done, 1 the run failed, 2 wrong use, 130 interrupted.
"""

import contextlib
import os
from collections.abc import Sequence
from importlib import import_module

import rich_click as click
from click.exceptions import NoSuchOption

from psi_core.errors import IncompleteError, PsiError, system_sentence, unknown_name
from psi_core.files import open_standard_streams
from psi_tui.commands.options import ascii_option
from psi_tui.engine.client import EngineError
from psi_tui.shell.console import OutputError, drop_output, narrate, write_alike

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130

_HELP_LOOK = {
    "theme": "default-slim",
    "options_table_column_types": ["opt_short", "opt_long", "help"],
    "arguments_panel_title": "Arguments",
    "max_width": 100,
}


_MODULES = {
    "open": "open",
    "run": "run",
    "runs": "runs",
    "watch": "run",
    "show": "show",
    "compare": "compare",
    "ablate": "ablate",
    "liu": "ablate",
    "report": "report",
    "export": "export",
    "resume": "control",
    "stop": "control",
    "delete": "control",
    "label": "label",
    "verify": "control",
    "trash": "control",
    "fit": "fit",
    "models": "models",
    "layers": "models",
    "doctor": "doctor",
    "bench": "bench",
    "selftest": "selftest",
}
"""Commands in the order of use, and the module of `psi_tui.commands` that holds each under its own name."""


_MEANT = {
    "rename": "label RUN --name NAME",
    "tag": "label RUN --tag TAG",
    "note": "label RUN --note TEXT",
    "list": "runs",
    "ls": "runs",
    "rm": "delete RUN",
    "undo": "trash --undo",
    "restore": "trash --undo",
    "plot": "show RUN --plot LAYER",
    "start": "run",
    "new": "run",
    "cancel": "stop RUN",
    "kill": "stop RUN",
    "check": "verify RUN",
    "view": "open RUN",
    "info": "show RUN",
    "help": "--help",
    "version": "--version",
}
"""What people type for commands that have another name here."""


class CommandGroup(click.RichGroup):
    """The commands, each imported when it is used; a misspelt one is answered with the nearest."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """The command of that name.

        Raises:
            UsageError: there is none.
        """
        if cmd_name in _MEANT:
            raise click.UsageError(f"command: there is no {cmd_name!r}; write psi-tui {_MEANT[cmd_name]}")
        if cmd_name not in _MODULES:
            raise click.UsageError(unknown_name("command", cmd_name, _MODULES))
        command = getattr(import_module(f"psi_tui.commands.{_MODULES[cmd_name]}"), cmd_name)
        assert isinstance(command, click.Command), "every command's module holds it under its name"
        return command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order of use."""
        return list(_MODULES)


@click.group(
    cls=CommandGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Completion of names in your shell: eval "$(_PSI_TUI_COMPLETE=bash_source psi-tui)"; zsh and fish likewise. '
    "PSI_PICTURES=blocks, kitty or sixel chooses how the app shows images; by itself it asks the terminal.",
)
@click.rich_config(help_config=_HELP_LOOK)
@click.version_option(package_name="psi-tui", message="psi-tui %(version)s")
@click.option(
    "--runs-dir", metavar="DIR", help="folder of the runs that the app shows; of a command, write it after that"
)
@ascii_option
@click.pass_context
def commands(context: click.RichContext, runs_dir: str | None, ascii_only: bool) -> None:
    """Population sparseness of convolutional networks under adversarial attack, measured layer by layer.

    Without a command: the app.
    """
    if context.invoked_subcommand is None:
        from psi_tui.commands.open import start_app

        context.exit(start_app(runs_dir=runs_dir, ascii_only=ascii_only))
    elif context.invoked_subcommand != "open" and (runs_dir is not None or ascii_only):
        option = "--runs-dir" if runs_dir is not None else "--ascii"
        raise click.UsageError(
            f"{option}: belongs after the command; write psi-tui {context.invoked_subcommand} {option} ..."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and gives its exit code; the entry point of `psi-tui`.

    Args:
        arguments: what follows `psi-tui`; default: the process's own arguments.
    """
    open_standard_streams()
    if not os.environ.get("COLUMNS", "1").strip("0"):
        del os.environ["COLUMNS"]  # Some shells set none or 0 where they know no width: not a letter would fit.
    write_alike()
    try:
        # click and rich leave by SystemExit where the reader of a pipe has seen enough: nothing is wrong then.
        with contextlib.suppress(SystemExit):
            result = commands.main(arguments, prog_name="psi-tui", standalone_mode=False)
            return result if isinstance(result, int) else 0
    except (click.Abort, KeyboardInterrupt):
        narrate("psi-tui: interrupted")
        return INTERRUPTED
    except (click.ClickException, PsiError) as error:
        narrate(f"psi-tui: {_sentence(error)}")
        return FAILED if isinstance(error, EngineError | IncompleteError | OutputError) else WRONG_USE
    except OSError as error:
        narrate(f"psi-tui: {system_sentence(error)}")
        if error.filename is None:
            drop_output()
        return FAILED
    return 0


def _missing(parameter: click.Parameter) -> str:
    """What is to be written for an argument or option that is not there."""
    if isinstance(parameter, click.Option):
        return f"{parameter.opts[0]} is missing: {parameter.help}"
    name = parameter.human_readable_name.removesuffix("...")
    runs = " (a name, an id, a folder, or latest; psi-tui runs lists them)"
    return f"{name} is missing{runs if name in ('RUN', 'RUNS') else ''}"


def _sentence(error: click.ClickException | PsiError) -> str:
    if isinstance(error, PsiError):
        return str(error)
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, NoSuchOption) and context is not None:
        names = [name for parameter in context.command.get_params(context) for name in parameter.opts]
        return unknown_name("option", error.option_name, [name for name in names if name.startswith("--")])
    if isinstance(error, click.MissingParameter) and error.param is not None and context is not None:
        return f"{_missing(error.param)}; see {context.command_path} --help"
    message = error.format_message()
    if ";" in message:  # Our own sentences already say what to write instead, which may end in three points.
        return message
    return message.rstrip(".") + ("" if context is None else f"; see {context.command_path} --help")
