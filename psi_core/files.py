"""Files of the readers' caches: each may be gone, damaged or impossible to write at any moment, and nothing fails.

Where things lie: run directories, caches and the data inside the package.

JSON for our own protocol and caches: full precision, and null where there is no finite number.
"""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import math
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import platformdirs

from psi_core.errors import ConfigError

_APPLICATION = "psi-tui"

PACKAGE_DATA = Path(__file__).parent / "data"
"""Files shipped with the package: MNIST, LeNet-5's weights, example runs."""


def runs_directory(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the run directories: `given`, else $PSI_RUNS_DIR, else the user's data folder.

    Raises:
        ConfigError: what was given is no path.
    """
    chosen = given or os.environ.get("PSI_RUNS_DIR")
    if chosen:
        if not isinstance(chosen, str | os.PathLike) or "\0" in os.fspath(chosen):
            raise ConfigError(f"runs-dir: {chosen!r} is no path; write that of a folder")
        return typed_path(chosen).absolute()
    return Path(platformdirs.user_data_dir(_APPLICATION, appauthor=False)) / "runs"


def typed_path(text: str | os.PathLike[str]) -> Path:
    """A path as somebody typed it, with `~` for a home folder; that of a user whom nobody knows stays as it is."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser fails on such a user.


def current_folder() -> Path:
    """The current folder, or the home folder where that is gone."""
    try:
        return Path.cwd()
    except OSError:
        return typed_path("~")


def is_file(path: Path) -> bool:
    """Whether there is a plain file; what nobody lets us see, or no file system can name, is none."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file fails there, as is_dir does.


def is_folder(path: Path) -> bool:
    """Whether there is a folder, likewise."""
    return os.path.isdir(path)  # noqa: PTH112


def cache_directory() -> Path:
    """The user's cache folder: fitted weights and the readers' statistics."""
    return Path(platformdirs.user_cache_dir(_APPLICATION, appauthor=False))


def state_directory() -> Path:
    """The user's state folder: what the app remembers, and which runs may run code. It may not have been made yet."""
    return Path(platformdirs.user_state_dir(_APPLICATION, appauthor=False))


def forget_empty_folders() -> None:
    """Takes empty variables of folders out of the environment: they count as not set, which torch does not know.

    With an empty XDG_CACHE_HOME it would keep its downloads in the current folder.
    """
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "TORCH_HOME", "HF_HOME"):
        if os.environ.get(name) == "":
            del os.environ[name]


def checkpoints_directory() -> Path:
    """Where fitted weights lie with their cards."""
    return cache_directory() / "checkpoints"


def examples_directory() -> Path:
    """Example runs shipped read-only with the package."""
    return PACKAGE_DATA / "examples"


def is_example(run_directory: Path) -> bool:
    """Whether a run directory, however its path is written, ships with the package."""
    return run_directory.resolve().parent == examples_directory().resolve()


def open_file(path: Path) -> BufferedReader:
    """A file opened to read; what is no plain file is refused: a pipe would be waited for, a device might never end.

    Raises:
        OSError: it cannot be opened, or is no plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(errno.EISDIR, "Is a directory") if stat.S_ISDIR(mode) else OSError(errno.EINVAL, "it is no file")
    return os.fdopen(descriptor, "rb")


def read_whole(path: Path, most_bytes: int = 16_000_000) -> bytes:
    """All bytes of a plain file.

    Raises:
        OSError: it cannot be read, is no plain file, or has more than `most_bytes`.
    """
    with open_file(path) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes / 1e6:g} MB")
    return data


def middle(length: int, most: int | None) -> slice:
    """The bytes in the middle of so many, at most so many of them; all by default."""
    taken = length if most is None else min(most, length)
    start = (length - taken) // 2
    return slice(start, start + taken)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def temporary_beside(path: Path) -> Path:
    """A name beside `path` to write to before renaming; it ends in `.tmp` and is nobody else's.

    The process id shows whose it was; the random part sets apart workers in containers, whose process ids are alike.
    """
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp")


def open_standard_streams() -> None:
    """Opens nothing in the place of those standard streams that are closed.

    The next file would get the number of one, and whatever a library or a child tells there would go into that file.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # The lowest number that is free: this one.
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115


def flush_to_disk(path: Path) -> None:
    """Returns when what was written to a file lies on the disk: a crash then leaves no half of it under its name."""
    with path.open("rb+") as file:
        flush(file)


def flush(file: IO[Any]) -> None:
    """Returns when what was written to an open file lies on the disk."""
    file.flush()
    whole = getattr(fcntl, "F_FULLFSYNC", None)  # On macOS fsync leaves it in the disk's own memory.
    try:
        if whole is not None:
            fcntl.fcntl(file.fileno(), whole)
            return
    except OSError:
        pass  # A file system that has no such call.
    os.fsync(file.fileno())


def set_aside(path: Path, word: str) -> Path:
    """Renames a file so that nothing reads it, to itself and a word, numbered where that is taken; gives the place."""
    for attempt in itertools.count():
        aside = path.with_name(f"{path.name}.{word}{attempt or ''}")
        if not os.path.lexists(aside):
            return path.rename(aside)
    raise AssertionError("counting has no end")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to; the file takes the place of `path` when the block ends, and goes where the block fails.

    A reader sees all of it or what was there before. A link in its place is replaced, and what it points to stays.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # The cause is worth more than what cleaning up says.
            temporary.unlink(missing_ok=True)
        raise


TEMPORARY = r"\.[0-9]+-[0-9a-f]{6}\.tmp"
"""What `temporary_beside` adds to a name."""


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


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of the user's cache folder, and the files that a reader keeps there; it touches no other file.

    Attributes:
        folder: name of the folder.
        pattern: regular expression that the name of every such file fits; a slash in it makes folders.
        most: how many of them may lie there; those longest unused go.
    """

    folder: str
    pattern: str
    most: int

    def path(self, name: str) -> Path:
        """Where the file of a name lies.

        Raises:
            ValueError: the name is none of this cache's.
        """
        if not re.fullmatch(self.pattern, name):
            raise ValueError(f"{self.folder}: {name!r} names no file of this cache")
        return cache_directory() / self.folder / name

    def keep(self, name: str, data: bytes) -> None:
        """Keeps a file, so that a reader sees either all of it or none; nothing is kept where that is impossible.

        Raises:
            ValueError: the name is none of this cache's.
        """
        path = self.path(name)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(data)
            self._remove_longest_unused()

    def _remove_longest_unused(self) -> None:
        root = cache_directory() / self.folder
        own = re.compile(f"(?:{self.pattern})(?:{TEMPORARY})?")
        used = {}
        for place, _, names in os.walk(root):  # It enters no link.
            for path in (Path(place, name) for name in names):
                if own.fullmatch(path.relative_to(root).as_posix()):
                    with contextlib.suppress(FileNotFoundError):  # Another process may be removing files too.
                        used[path] = path.lstat().st_mtime_ns
        for path in sorted(used, key=used.__getitem__)[: max(0, len(used) - self.most)]:
            path.unlink(missing_ok=True)
            if path.parent != root:
                with contextlib.suppress(OSError):
                    path.parent.rmdir()  # Fails unless that was its last file.


def note_use(path: Path) -> None:
    """Marks a file as used now: it is then among the last to go."""
    with contextlib.suppress(OSError):
        os.utime(path)
