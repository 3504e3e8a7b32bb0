"""Files of the readers' caches: each may be gone, damaged or impossible to write at any moment, and nothing fails.

Where things lie: run directories, caches and the data inside the package.

JSON for our own protocol and caches: full precision, and null where there is no finite number.
"""

import contextlib
import json
import math
import os
import secrets
from pathlib import Path
from typing import Any

import platformdirs

_APPLICATION = "psi-tui"

PACKAGE_DATA = Path(__file__).parent / "data"
"""Files shipped with the package: MNIST, LeNet-5's weights, example runs."""


def runs_directory(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the run directories: `given`, else $PSI_RUNS_DIR, else the user's data folder."""
    chosen = given or os.environ.get("PSI_RUNS_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_data_dir(_APPLICATION, appauthor=False)) / "runs"


def cache_directory() -> Path:
    """The user's cache folder: fitted weights and the readers' statistics."""
    return Path(platformdirs.user_cache_dir(_APPLICATION, appauthor=False))


def checkpoints_directory() -> Path:
    """Where fitted weights lie with their cards."""
    return cache_directory() / "checkpoints"


def examples_directory() -> Path:
    """Example runs shipped read-only with the package."""
    return PACKAGE_DATA / "examples"


def is_example(run_directory: Path) -> bool:
    """Whether a run directory, however its path is written, ships with the package."""
    return run_directory.resolve().parent == examples_directory().resolve()


def temporary_beside(path: Path) -> Path:
    """A name beside `path` to write to before renaming; it ends in `.tmp` and is nobody else's.

    The process id shows whose it was; the random part sets apart workers in containers, whose process ids are alike.
    """
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp")


def plain(value: Any) -> Any:
    """A value as JSON holds it: NaN and infinity become None, tuples lists, paths and keys text."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_line(value: Any) -> str:
    """A value as one line of JSON, without its newline."""
    return json.dumps(plain(value), allow_nan=False)


def keep_file(path: Path, data: bytes, *, below: Path, most: int) -> None:
    """Keeps a file, so that a reader sees either all of it or none; a folder that cannot be written to keeps nothing.

    Args:
        path: path of the file; its folders are made where they are missing.
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
