"""Deleting a run: what may be deleted, and what of a directory is a run's own. Nothing else is ever removed.

Links are unlinked and never followed. What cannot be removed whole stays where it was, with the reason.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from psi_core.errors import RunError, first_of, way_to_write
from psi_core.files import TEMPORARY, is_example, read_whole
from psi_core.runs.loading import IDENTITY
from psi_core.runs.status import StatusReader

_OWN = re.compile(
    r"((config|model|layers|card|label)\.json|positions\.npy|stop|(engine|selftest)-[0-9]+\.log|events-[0-9]+\.jsonl"
    r"|preview-[0-9]+\.npz|chunks/[0-9]{5,}\.npz(\.wrong[0-9]*)?|pictures/[0-9]+-[^/]+\.npz)"
    rf"({TEMPORARY}|\.[0-9]+\.tmp)?"
)
"""What a run writes, and what is said of it, by its path in the directory; of temporary files also those of older
versions."""

_DOOMED = re.compile(rf"\.({IDENTITY})\.deleted")
"""A run directory whose deletion has begun."""

_CONFIG = "config.json"

_FOLDERS = ("chunks", "pictures")


def require_deletable(directory: Path, way_to_stop: str = "") -> None:
    """Refuses to delete a run that must stay, or a directory that may be more than a run.

    Args:
        directory: the run's directory.
        way_to_stop: what stops a run; the command by default.

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
    command = f"psi-tui stop {directory.name}"
    if any(worker.is_alive for worker in StatusReader(directory).poll()):
        raise RunError(f"{directory.name}: still runs; stop it first with {way_to_stop or command}")


def require_nothing_else(directory: Path) -> None:
    """Refuses a run directory with files in it that no run writes.

    Raises:
        RunError: there are such files.
    """
    foreign = [] if directory.is_symlink() else foreign_files(directory)
    if foreign:
        raise RunError(f"{directory}: holds what no run writes ({first_of(foreign)}); move that away first")


def foreign_files(directory: Path) -> list[str]:
    """Paths in a run directory that no run writes; folders of their own end in a slash."""
    return sorted(path for path, is_own in _entries(directory) if not is_own)


def delete_run(directory: Path) -> list[str]:
    """Removes what a run has written, and its directory if nothing else is in there. Gives what was left.

    A rename takes the run off the list at once; where a file cannot be removed, or the user interrupts, what is left
    of it comes back.

    Raises:
        RunError: as of `require_deletable`, or something cannot be removed.
    """
    require_deletable(directory)
    if directory.is_symlink():
        directory.unlink()
        return []
    directory = directory.absolute().resolve()
    finish_deletions(directory.parent)
    doomed = directory.with_name(f".{directory.name}.deleted")
    config = read_whole(directory / _CONFIG)
    try:
        try:
            directory.rename(doomed)
        except OSError as error:
            raise RunError(f"{directory}: cannot be deleted ({error.strerror}); {way_to_write(error)}") from None
        return _remove_own(doomed, directory)
    except OSError as error:
        _put_back(doomed, directory, config)
        raise RunError(f"{directory}: cannot be deleted whole ({error.strerror}); check who owns its files") from None
    except BaseException:
        _put_back(doomed, directory, config)
        raise


def finish_deletions(folder: Path) -> None:
    """Finishes the deletions in a folder of runs in whose middle a process was killed; what is impossible is left.

    They are not undone: the user had asked for them, and a run that came back would lack results. Two processes that
    finish the same one do not disturb each other.
    """
    try:
        with os.scandir(folder) as entries:
            names = [
                each.name for each in entries if _DOOMED.fullmatch(each.name) and each.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return
    for name in names:
        doomed, identity = folder / name, name.removeprefix(".").removesuffix(".deleted")
        with contextlib.suppress(OSError):
            if _identity(doomed) == identity:
                _remove_own(doomed, folder / identity)
            elif not (doomed / _CONFIG).exists():
                doomed.rmdir()  # Only an empty one goes.


def _remove_own(doomed: Path, directory: Path) -> list[str]:
    """Removes what a run has written from its renamed directory, and this if nothing else is in there.

    The configuration goes last: as long as it is there, so is the run.

    Args:
        doomed: the directory, renamed.
        directory: where it comes back to with what no run writes.

    Returns:
        What that is.
    """
    left = foreign_files(doomed)
    with contextlib.suppress(FileNotFoundError):  # Another process finishes it too.
        for path in [path for path, is_own in _entries(doomed) if is_own and path != _CONFIG]:
            (doomed / path).unlink(missing_ok=True)
        for folder in (doomed / name for name in _FOLDERS):
            if folder.is_dir() and not folder.is_symlink() and next(folder.iterdir(), None) is None:
                folder.rmdir()
        if left:
            doomed.rename(directory)
            (directory / _CONFIG).unlink()
        else:
            (doomed / _CONFIG).unlink()
            doomed.rmdir()
    return left


def _put_back(doomed: Path, directory: Path, config: bytes) -> None:
    """Gives a run whose deletion came to nothing its name back, as far as that can be."""
    with contextlib.suppress(OSError):  # The cause is worth more than what this says.
        if doomed.is_dir():
            if not (doomed / _CONFIG).exists():
                (doomed / _CONFIG).write_bytes(config)
            doomed.rename(directory)


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
        values = json.loads(read_whole(directory / _CONFIG))
    except (OSError, ValueError, RecursionError):
        return None
    return values.get("id") if isinstance(values, dict) else None
