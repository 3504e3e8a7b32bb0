"""The user's state folder: where it lies, and writing a file there so that it is whole or not there."""

import contextlib
from pathlib import Path

import platformdirs

from psi_core.paths import temporary_beside


def state_directory() -> Path:
    """Where the app keeps its memory and the text copied last; it may not have been made yet."""
    return Path(platformdirs.user_state_dir("psi-tui", appauthor=False))


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file, and its folder where there is none, so that a reader sees all of it or what was there before.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    temporary = temporary_beside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # The cause is worth more than what cleaning up says.
            temporary.unlink(missing_ok=True)
        raise
