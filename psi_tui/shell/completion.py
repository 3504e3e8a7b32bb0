"""What a shell completes values with: runs, their layers and conditions, and names that an option knows."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

import rich_click as click

from psi_core.errors import PsiError

Complete: TypeAlias = Callable[[click.Context, click.Parameter, str], list[str]]
"""Gives what fits a value that is begun."""


def one_of(names: Iterable[str]) -> Complete:
    """Completes with one of these names."""
    known = list(names)

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        return _fitting(known, incomplete)

    return complete


def some_of(names: Iterable[str]) -> Complete:
    """Completes the last of several names with commas, with one that does not stand there yet."""
    known = list(names)

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        rest = [name for name in known if name not in before.split(",")]
        return [f"{before}{comma}{name}" for name in _fitting(rest, last)]

    return complete


def complete_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completes with names and ids of runs, the newest first, and with `latest`."""
    from psi_core.runs.finding import list_runs

    try:
        runs = list_runs(context.params.get("runs_dir"))
    except (PsiError, OSError):
        return []
    return _fitting([*(run.name for run in runs), *(run.id for run in runs), "latest"], incomplete)


def complete_tag(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completes the last of several tags with one that some run has."""
    from psi_core.runs.finding import list_runs

    try:
        tags = [tag for run in list_runs(context.params.get("runs_dir")) for tag in run.tags]
    except (PsiError, OSError):
        return []
    return some_of(sorted(set(tags)))(context, parameter, incomplete)


def complete_layer(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completes with layers of the run on the line."""
    return _of_run(context, "layers", incomplete)


def complete_condition(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completes with conditions of the run on the line, but benign."""
    return [name for name in _of_run(context, "conditions", incomplete) if name != "benign"]


def complete_conditions(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completes the last of several conditions with commas, with one of the run on the line, but benign."""
    names = [name for name in _of_run(context, "conditions", "") if name != "benign"]
    return some_of(names)(context, parameter, incomplete)


def _of_run(context: click.Context, what: str, incomplete: str) -> list[str]:
    """Names that a run has; none where the line names no run yet."""
    from psi_core.runs.finding import load_run

    # Behind an option without its value yet, the parser leaves the arguments where they are.
    named = context.params.get("run") or next(iter(context.params.get("runs") or context.args or ()), None)
    if not named:
        return []
    try:
        return _fitting(getattr(load_run(named, context.params.get("runs_dir")), what), incomplete)
    except (PsiError, OSError):
        return []


def _fitting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
