"""`psi-tui` and `psi-tui open RUN`: the app."""

import os
import signal
import sys
from pathlib import Path

import rich_click as click

from psi_core.errors import ConfigError
from psi_core.files import runs_directory
from psi_tui.commands.options import ascii_option, run_argument, runs_dir_option, trust_option, trust_run
from psi_tui.shell.console import has_every_character

_SWITCH_SECONDS = 0.001
"""How long a thread that reads or draws may keep Python to itself. A fifth of the default halves the longest wait of a
key, from 0.22 s to 0.11 s beside a worker that keeps both cores of two busy."""


@click.command(name="open")
@run_argument
@runs_dir_option
@ascii_option
@trust_option
@click.pass_context
def open(  # noqa: A001
    context: click.RichContext, *, run: str, runs_dir: str | None, ascii_only: bool, trust: bool
) -> None:
    """Open a run in the app.

    PSI_PICTURES=blocks, kitty or sixel chooses how it shows images; by itself it asks the terminal.
    """
    from psi_core.runs.finding import find_run, load_run

    before = context.parent.params if context.parent is not None else {}
    runs_dir, ascii_only = runs_dir or before.get("runs_dir"), ascii_only or bool(before.get("ascii_only"))
    if trust:
        trust_run(load_run(run, runs_dir))
    context.exit(start_app(runs_dir=runs_dir, ascii_only=ascii_only, directory=find_run(run, runs_dir)))


def start_app(*, runs_dir: str | None = None, ascii_only: bool = False, directory: Path | None = None) -> int:
    """Runs the app until it is left, and gives the exit code.

    Args:
        runs_dir: as typed.
        ascii_only: whether only ASCII may reach the terminal.
        directory: of a run to show at once.

    Raises:
        ConfigError: there is no terminal that could show it, or pictures are wanted in a way that there is not.
    """
    require_terminal("psi-tui runs" if directory is None else f"psi-tui show {directory.name}")
    from psi_tui.app.app import PsiApp
    from psi_tui.graphics.terminal import wish_of
    from psi_tui.plots.themes import colors_from

    pictures = wish_of(os.environ)
    for name in ("COLUMNS", "LINES"):  # Exported by a shell or a readline, they would pin the size for good.
        os.environ.pop(name, None)
    sys.setswitchinterval(_SWITCH_SECONDS)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Started below nohup, it would outlive its terminal and spin.
    ascii_only = ascii_only or not has_every_character(sys.stdout)
    app = PsiApp(runs_directory(runs_dir), open_directory=directory, ascii_only=ascii_only, pictures=pictures)
    app.use_colors(colors_from(app.console.color_system))
    app.run()
    return app.return_code or 0


def require_terminal(instead: str) -> None:
    """Makes sure that a screen can be drawn.

    Args:
        instead: the command that prints the same plainly.

    Raises:
        ConfigError: standard input or output is no terminal, or a dumb one.
    """
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        reason = f"TERM is {os.environ.get('TERM', '') or 'not set'}, which cannot draw a screen"
    elif not (sys.stdin.isatty() and sys.stdout.isatty()):
        reason = "standard input or output is no terminal"
    else:
        return
    raise ConfigError(f"app: {reason}; write a command instead, such as {instead}, or psi-tui --help")
