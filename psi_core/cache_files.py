"""Files of the readers' caches: each may be gone, damaged or impossible to write at any moment, and nothing fails."""

import contextlib
import os
from pathlib import Path

from psi_core.paths import temporary_beside


def keep_file(path: Path, data: bytes, *, below: Path, most: int) -> None:
    """Keeps a file, so that a reader sees either all of it or none; a folder that cannot be written to keeps nothing.

    Args:
        path: of the file; its folders are made where they are missing.
        data: what it holds.
        below: the cache's own folder, in which `path` lies.
        most: how many files may lie below it; those longest unused go.
    """
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(path)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _remove_longest_unused(below, most)


def note_use(path: Path) -> None:
    """Marks a file as used now: it is then among the last to go."""
    with contextlib.suppress(OSError):
        os.utime(path)


def _remove_longest_unused(folder: Path, most: int) -> None:
    used = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # Another process may be removing files too.
            if path.is_file():
                used[path] = path.stat().st_mtime_ns
    for path in sorted(used, key=used.__getitem__)[: max(0, len(used) - most)]:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # Fails unless that was its last file.
