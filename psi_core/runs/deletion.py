"""Deleting a run: what may be deleted, and what of a directory is a run's own. Nothing else is ever removed.

Links are unlinked and never followed. What cannot be removed whole stays where it was, with the reason.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from psi_core.errors import RunError
from psi_core.files import is_example
from psi_core.runs.status import StatusReader

_OWN = re.compile(
    r"(config|model|layers|card)\.json|positions\.npy|stop|(engine|selftest)-\d+\.log|events-\d+\.jsonl|preview-\d+\.npz"
    r"|(chunks|pictures)/[^/]+\.npz|([^/]+/)?[^/]+\.tmp"
)
"""What a run writes, by its path in the directory."""

_CONFIG = "config.json"

_FOLDERS = ("chunks", "pictures")

_NAMED = 3
"""How many foreign files a sentence names."""


def require_deletable(directory: Path) -> None:
    """Refuses to delete a run that must stay, or a directory that may be more than a run.

    Raises:
        RunError: it ships with the package, a worker still writes to it, or the directory has another name than the
            run. A link to one can always go.
    """
    if is_example(directory):
        raise RunError(f"{directory.name}: ships with psi-tui and is never deleted; name a run of your own")
    if directory.is_symlink():
        return
    real = directory.absolute().resolve()
    identity = _identity(real)
    if identity is None:
        raise RunError(f"{real}: cannot be deleted; it holds no run that can be read")
    if identity != real.name:
        raise RunError(
            f"{real}: is not named as its run is, so that it may be more than a run directory; remove it yourself"
        )
    if any(worker.is_alive for worker in StatusReader(directory).poll()):
        raise RunError(f"{directory.name}: still runs; stop it first with psi-tui stop {directory.name}")


def require_nothing_else(directory: Path) -> None:
    """Refuses a run directory with files in it that no run writes.

    Raises:
        RunError: there are such files.
    """
    foreign = [] if directory.is_symlink() else foreign_files(directory)
    if foreign:
        raise RunError(f"{directory}: holds what no run writes ({_listed(foreign)}); move that away first")


def foreign_files(directory: Path) -> list[str]:
    """Paths in a run directory that no run writes; folders of their own end in a slash."""
    return sorted(path for path, is_own in _entries(directory) if not is_own)


def delete_run(directory: Path) -> list[str]:
    """Removes what a run has written, and its directory if nothing else is in there. Gives what was left.

    A rename takes the run off the list at once; where a file cannot be removed, it comes back.

    Raises:
        RunError: as of `require_deletable`, or something cannot be removed.
    """
    require_deletable(directory)
    if directory.is_symlink():
        directory.unlink()
        return []
    directory = directory.absolute().resolve()
    doomed = directory.with_name(f".{directory.name}.deleted")
    left = foreign_files(directory)
    try:
        directory.rename(doomed)
    except OSError as error:
        raise RunError(f"{directory}: cannot be deleted ({error.strerror}); check who owns it") from None
    config = (doomed / _CONFIG).read_bytes()
    try:
        own = [path for path, is_own in _entries(doomed) if is_own]
        for path in sorted(own, key=lambda path: path == _CONFIG):  # Last: as long as it is there, so is the run.
            (doomed / path).unlink()
        for folder in (doomed / name for name in _FOLDERS):
            if folder.is_dir() and not folder.is_symlink() and next(folder.iterdir(), None) is None:
                folder.rmdir()
        if not left:
            doomed.rmdir()
            return []
    except OSError as error:
        if not (doomed / _CONFIG).exists():
            (doomed / _CONFIG).write_bytes(config)
        doomed.rename(directory)
        raise RunError(f"{directory}: cannot be deleted whole ({error.strerror}); check who owns its files") from None
    doomed.rename(directory)
    return left


def _entries(directory: Path) -> Iterator[tuple[str, bool]]:
    """Everything in a run directory by its path there, and whether it is the run's own; links are not followed."""
    for entry in os.scandir(directory):
        if entry.name in _FOLDERS and entry.is_dir(follow_symlinks=False):
            yield from (_entry(inner, f"{entry.name}/{inner.name}") for inner in os.scandir(entry.path))
        else:
            yield _entry(entry, entry.name)


def _entry(entry: os.DirEntry[str], path: str) -> tuple[str, bool]:
    if entry.is_dir(follow_symlinks=False):
        return f"{path}/", False
    return path, entry.is_symlink() or _OWN.fullmatch(path) is not None


def _identity(directory: Path) -> object:
    try:
        values = json.loads((directory / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values.get("id") if isinstance(values, dict) else None


def _listed(paths: list[str]) -> str:
    more = len(paths) - _NAMED
    return ", ".join(paths[:_NAMED]) + (f" and {more} more" if more > 0 else "")
