"""`psi-tui doctor`: what is installed, what there is to compute on, where things lie."""

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import rich_click as click

from psi_core.errors import PsiError
from psi_core.files import cache_directory, runs_directory
from psi_tui.commands.options import json_option, runs_dir_option
from psi_tui.engine.client import ask
from psi_tui.shell.bar import waiting
from psi_tui.shell.console import narration_console, output_console, print_sentence, write_result
from psi_tui.text.formatting import format_bytes, json_text

_TOLD_WITH_FREE_SPACE = ("runs_directory", "cache_directory")
"""The engine's folders, which are the app's."""

_PACKAGES = ("psi-tui", "textual", "rich", "plotext", "numpy", "scipy")


@click.command()
@runs_dir_option
@json_option
@click.pass_context
def doctor(context: click.RichContext, runs_dir: str | None, as_json: bool) -> None:
    """Say what is installed, which devices there are, and where things lie."""
    console = narration_console()
    facts: dict[str, Any] = {
        "python": sys.version.split()[0],
        **{name: _version(name) for name in _PACKAGES},
        "terminal": f"{console.width} x {console.height}, colors {console.color_system or 'none'}, "
        f"{console.encoding}, TERM={os.environ.get('TERM', '')}",
        "runs": _folder(runs_directory(runs_dir)),
        "cache": _folder(cache_directory()),
    }
    try:
        with waiting("asking the engine"):
            facts = {**ask("doctor"), **facts}
    except PsiError as error:
        facts["engine"] = str(error)
    if as_json:
        write_result(json_text(facts))
        context.exit("engine" in facts)
    told = {name: value for name, value in facts.items() if name not in _TOLD_WITH_FREE_SPACE}
    width = max(len(name) for name in told)
    for name, value in told.items():
        lines = [str(part) for part in value] if isinstance(value, list) else [str(value or "none")]
        for place, line in enumerate(lines or ["none"]):
            print_sentence(output_console(), f"{'' if place else name:<{width}}  {line}", indent=width + 2)
    context.exit("engine" in facts)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # psi-tui itself, run from its source tree.
        return "not installed"


def _folder(folder: Path) -> str:
    existing = next(parent for parent in (folder, *folder.parents) if os.path.exists(parent))  # noqa: PTH110
    free = format_bytes(shutil.disk_usage(existing).free)
    try:
        folder.stat()
    except FileNotFoundError:
        return f"{folder} ({free} free, not made yet)"
    except OSError as error:
        return f"{folder} (cannot be looked into: {error.strerror})"
    return f"{folder} ({free} free)"
