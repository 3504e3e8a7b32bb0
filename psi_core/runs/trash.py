"""Deleted runs, for a while: a hidden folder beside the runs, from which they come back by one key.

What lies there too long is removed for good at the next list or deletion. Nothing that was not put there is touched,
and no link is followed.
"""

import contextlib
import os
import re
import shutil
import stat
import time
from pathlib import Path

from psi_core.errors import RunError, attempted, incomplete, way_to_write
from psi_core.runs.deletion import finish_deletions, require_deletable, require_nothing_else

TRASH = ".trash"
"""Name of the folder beside the runs; a list of runs passes over hidden names."""

KEPT_SECONDS = 14 * 24 * 3600.0
"""How long a deleted run can come back."""

_NO_CLOCK = 1_000_000_000
"""Seconds since 1970 before which no run was deleted: a machine without a clock begins there."""

_NAME = re.compile(r"(\d{10,12})-(\d+)-(.+)", re.DOTALL)
"""When, which one of that second, and what it was called."""

_DOOMED = re.compile(rf"\.{_NAME.pattern}\.removed", re.DOTALL)
"""One that is being removed for good: half of it must not come back."""


def put_in_trash(directory: Path) -> Path:
    """Moves a run into the trash beside it and gives its place there; what lies there too long goes.

    Raises:
        RunError: it ships with the package, a worker still writes to it, it holds what no run writes, or it cannot be
            moved.
    """
    require_deletable(directory)
    require_nothing_else(directory)
    folder = directory.parent / TRASH
    try:
        folder.mkdir(exist_ok=True)
        _require_folder(folder)
        now = int(time.time())
        place = sum(_when(path.name)[0] == now for path in trashed_runs(directory.parent))
        trashed = folder / f"{now:010d}-{place}-{directory.name}"  # A clock may begin in 1970.
        directory.rename(trashed)
    except OSError as error:
        raise RunError(f"{directory}: cannot be moved to the trash ({error.strerror}); {way_to_write(error)}") from None
    tidy(directory.parent)
    return trashed


def take_from_trash(trashed: Path) -> Path:
    """Moves a run back to where it was, and gives its place.

    Raises:
        RunError: it is not in the trash any more, or another has its place by now.
    """
    found = _NAME.fullmatch(trashed.name)
    if found is None or trashed.parent.name != TRASH or not os.path.lexists(trashed):
        raise RunError(f"{trashed}: is not in the trash; it may have been removed for good")
    directory = trashed.parent.parent / found[3]
    if os.path.lexists(directory):
        raise RunError(f"{directory}: is there again; move it away, then take the deleted one back")
    try:
        trashed.rename(directory)
    except OSError as error:
        raise RunError(f"{trashed}: cannot be moved back ({error.strerror}); {way_to_write(error)}") from None
    return directory


def trashed_runs(runs_dir: Path) -> list[Path]:
    """What lies in the trash of a runs directory, the newest last."""
    try:
        _require_folder(runs_dir / TRASH)
        found = [path for path in (runs_dir / TRASH).iterdir() if _NAME.fullmatch(path.name)]
    except (OSError, RunError):
        return []
    return sorted(found, key=lambda path: _when(path.name))


def trashed_bytes(runs_dir: Path) -> int:
    """How much the files in the trash take, in bytes; what cannot be read counts as nothing."""
    total = 0
    for trashed in trashed_runs(runs_dir):
        for place, _, names in os.walk(trashed):  # It enters no link.
            for name in names:
                with contextlib.suppress(OSError):
                    total += Path(place, name).lstat().st_size
    return total


def empty_trash(runs_dir: Path, older_than: float = 0.0) -> int:
    """Removes for good what has been in the trash for so many seconds, and gives how many runs that were.

    Raises:
        IncompleteError: some of them cannot be removed; the others are.
    """
    latest = time.time() - older_than
    doomed = [path for path in trashed_runs(runs_dir) if _when(path.name)[0] <= latest]
    removed, refusals = attempted(_remove, doomed)
    if refusals:
        raise incomplete("are removed for good", len(removed), refusals)
    return len(removed)


def tidy(runs_dir: Path) -> None:
    """Does what is due in a folder of runs, which is mostly nothing; what is impossible is left, without an error.

    What has been in the trash for too long goes, and so does what a killed process had begun to remove.
    """
    finish_deletions(runs_dir)
    for trashed in trashed_runs(runs_dir):
        with contextlib.suppress(OSError):
            _date_anew(trashed)
    with contextlib.suppress(RunError):
        empty_trash(runs_dir, KEPT_SECONDS)
    with contextlib.suppress(OSError, RunError):
        _require_folder(runs_dir / TRASH)
        for path in (runs_dir / TRASH).iterdir():
            if _DOOMED.fullmatch(path.name) and not path.is_symlink():
                shutil.rmtree(path)


def _date_anew(trashed: Path) -> None:
    """Begins the time of a run in the trash anew where the machine knew no time when it was deleted."""
    deleted, place = _when(trashed.name)
    now = int(time.time())
    if deleted < _NO_CLOCK <= now:
        found = _NAME.fullmatch(trashed.name)
        assert found is not None, "it was put there by this page"
        dated = trashed.with_name(f"{now:010d}-{place}-{found[3]}")
        if not os.path.lexists(dated):
            trashed.rename(dated)


def _remove(trashed: Path) -> None:
    """Removes one run from the trash for good.

    Raises:
        RunError: it stays, for that reason.
    """
    doomed = trashed.with_name(f".{trashed.name}.removed")
    try:
        if trashed.is_symlink():
            trashed.unlink()
        else:
            trashed.rename(doomed)
            shutil.rmtree(doomed)  # It unlinks links, and follows none.
    except OSError as error:
        with contextlib.suppress(OSError):
            doomed.rename(trashed)
        raise RunError(f"{trashed}: cannot be removed ({error.strerror}); {way_to_write(error)}") from None


def _when(name: str) -> tuple[int, int]:
    found = _NAME.fullmatch(name)
    assert found is not None, "it was put there by this page"
    return int(found[1]), int(found[2])


def _require_folder(folder: Path) -> None:
    """Refuses a trash that is a link, or no folder: whatever lies behind it is not ours."""
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise RunError(f"{folder}: is no folder of its own; move it away, it stands in the place of the trash")
