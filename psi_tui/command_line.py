"""The command that does what the app is about to do."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from psi_core.config import RunConfig
from psi_core.paths import runs_directory


def run_command(typed: Mapping[str, str], runs_dir: Path) -> str:
    """The `psi-tui run` of these options, quoted for a shell.

    Args:
        typed: what differs from the defaults, by RunConfig's names.
        runs_dir: where the run would go; named only where the command would choose another folder.
    """
    words = ["psi-tui", "run"]
    for name, text in typed.items():
        option = f"--{name.replace('_', '-')}"
        words += [option] if RunConfig.model_fields[name].annotation is bool else _option(option, text)
    if runs_dir != runs_directory():
        words += _option("--runs-dir", str(runs_dir))
    return shlex.join(words)


def _option(option: str, text: str) -> list[str]:
    """An option and its value, joined by = where the value would pass for an option itself."""
    return [f"{option}={text}"] if text.startswith("-") else [option, text]
