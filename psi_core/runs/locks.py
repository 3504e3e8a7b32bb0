"""Locks between processes, also of several machines: who holds one, how others wait, and how a dead owner's is taken.

A lock is a file that one process alone can make. It tells who made it, and its time, by the file server's clock, that
its owner lives. Where the file system's own locks can be trusted they are taken too: they end with their process.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from psi_core.files import TEMPORARY, temporary_beside
from psi_core.runs.processes import STALE_SECONDS, beating, is_process_here, own_identity

BEAT_SECONDS = 10.0
"""How often an owner shows that it lives."""

_POLL_SECONDS = 0.2
_MOST_BYTES = 10_000

_NETWORK = re.compile(
    r"nfs4?|cifs|smb[23]?|9p|fuse\..*|fuseblk|lustre|gpfs|beegfs|ceph|afs|ncpfs|glusterfs|orangefs|pvfs2|virtiofs|vboxsf"
)
"""File systems whose own locks may hold on one machine only, or be none."""


@dataclass(slots=True)
class _Claim:
    """Who made a lock's file.

    Attributes:
        token: differs from that of every other claim.
        identity: of its process, as `own_identity` has it; empty where the file does not say.
        has_flock: whether it held the file system's lock too.
        modified: the file's time, in seconds.
    """

    token: str
    identity: dict[str, Any]
    has_flock: bool
    modified: float


@contextlib.contextmanager
def hold(path: Path, should_stop: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Holds a lock for this process while others wait; whoever ends without a word loses it.

    Not for two threads of one process at once, nor for a process that was forked within the block.

    Args:
        path: file of the lock, in a folder that is there. Beside it lies another while it is held.
        should_stop: whether to wait no longer.

    Yields:
        Whether it is held; False where `should_stop` gave True first.

    Raises:
        OSError: no file can be made there.
    """
    with path.open("ab") as file:
        lock = _Lock(path, file)
        while not lock.take():
            if should_stop():
                yield False
                return
            time.sleep(_POLL_SECONDS)
        with lock.kept():
            yield True


def has_own_locks(path: Path, mounts: str | None = None) -> bool:
    """Whether the locks of the file system of a path hold wherever it is mounted: it is no network's, nor a program's.

    Args:
        path: any path.
        mounts: what is mounted where, as the system lists it for this process; read by default.
    """
    place, kind = "", ""
    try:
        listed = mounts or Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        resolved = str(path.resolve())
    except OSError:
        return True
    for line in listed.splitlines():
        before, _, after = line.partition(" - ")
        mounted = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), [*before.split(" "), *5 * [""]][4])
        is_above = resolved == mounted or resolved.startswith(mounted.rstrip("/") + "/")
        if mounted and is_above and len(mounted) >= len(place):  # Of two at one place, the later hides the earlier.
            place, kind = mounted, after.partition(" ")[0]
    return _NETWORK.fullmatch(kind) is None


class _Lock:
    """One lock that this process wants or holds.

    Args:
        path: its file, which stays.
        file: that file, open.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._file = file
        self._owner = path.with_name(f"{path.name}.owner")
        self._is_trusted = has_own_locks(path)
        self._has_flock = False
        self._token = secrets.token_hex(8)
        self._watched: dict[str, tuple[float, float]] = {}

    def take(self) -> bool:
        """Whether it is held now."""
        if self._is_trusted and not self._has_flock:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._has_flock = True
            except BlockingIOError:
                return False
            except OSError:  # There are none here after all.
                self._is_trusted = False
        return self._claim(self._owner)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Shows within the block that the owner lives, and gives the lock back at its end."""
        with contextlib.suppress(OSError):
            self._sweep()
        try:
            with beating(self._beat, BEAT_SECONDS):
                yield
        finally:
            with contextlib.suppress(OSError):
                self._give_back()

    def _beat(self) -> None:
        if self._is_own(self._owner):
            os.utime(self._owner)

    def _claim(self, path: Path) -> bool:
        """Makes the file that says whose the lock is, where there is none or its owner is dead."""
        if self._made(path):
            return True
        claim = self._read(path)
        if claim is None or self._lives(claim, path):
            return False
        with self._right_over(path, claim.token) as is_ours:
            if is_ours:
                own = temporary_beside(path)
                own.write_bytes(self._words())
                try:
                    own.replace(path)
                except FileNotFoundError:  # We were held for a minute, and it was swept away.
                    return False
            return is_ours

    @contextlib.contextmanager
    def _right_over(self, path: Path, token: str) -> Iterator[bool]:
        """Whether this process alone may put something in the place of a claim, which is still there.

        The right is a lock itself, named after the claim, so that of many who saw the same dead owner one acts. One
        who saw it long ago finds another claim there and does nothing.
        """
        right = path.with_name(f"{path.name}.{_mark(token)}")
        if not self._claim(right):
            yield False
            return
        try:
            now = self._read(path)
            yield now is not None and now.token == token
        finally:
            if self._is_own(right):
                right.unlink(missing_ok=True)

    def _give_back(self) -> None:
        """Removes the claim, unless it was taken for dead and another one has its place."""
        with self._right_over(self._owner, self._token) as is_ours:
            if is_ours:
                self._owner.unlink()

    def _sweep(self) -> None:
        """Removes what killed takers left beside the claim, which is ours now.

        A right over an earlier claim is worth nothing: that claim never comes back, and whoever takes the right finds
        another one there. Rights over ours stay: somebody may take us for dead. So do temporary files of less than a
        minute.
        """
        name = re.escape(self._owner.name)
        rights = re.compile(rf"{name}\.(?!{_mark(self._token)})[0-9a-f]{{8}}(\.[0-9a-f]{{8}})*")
        temporaries = re.compile(rf"{name}(\.[0-9a-f]{{8}})*{TEMPORARY}")
        now = self._owner.stat().st_mtime  # Just written: by the file server's clock.
        with os.scandir(self._owner.parent) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(f"{self._owner.name}.")]
        for each in names:
            path = self._owner.with_name(each)
            claim = self._read(path)
            if claim is None:
                continue
            is_left = rights.fullmatch(each) and not self._lives(claim, path)
            is_old = temporaries.fullmatch(each) and now - claim.modified >= STALE_SECONDS
            if is_left or is_old:
                path.unlink(missing_ok=True)

    def _made(self, path: Path) -> bool:
        """Whether the file was made now, or had been by us: a network may ask twice."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            return self._is_own(path)
        try:
            os.write(descriptor, self._words())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return self._is_own(path)  # Whoever was held here for a minute was taken for dead.

    def _words(self) -> bytes:
        return json.dumps({"token": self._token, "has_flock": self._has_flock, **own_identity()}).encode()

    def _is_own(self, path: Path) -> bool:
        claim = self._read(path)
        return claim is not None and claim.token == self._token

    def _read(self, path: Path) -> _Claim | None:
        """What a claim says; None where there is none any more. Opened, so that a network file system looks anew."""
        try:
            with path.open("rb") as file:
                data, found = file.read(_MOST_BYTES), os.fstat(file.fileno())
        except OSError:
            return None
        try:
            values = json.loads(data)
            token, has_flock = str(values.pop("token")), bool(values.pop("has_flock"))
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):  # Its owner has not written it yet.
            token, has_flock, values = f"{found.st_ino:x}-{found.st_mtime_ns:x}", False, {}
        return _Claim(token, values, has_flock, found.st_mtime)

    def _lives(self, claim: _Claim, path: Path) -> bool:
        """Whether a claim's owner may be alive: here the process table says, elsewhere the file's time.

        A time that is old by the file server's clock is a dead owner's, unless it moves while we look. One of the
        future is no time at all: then only a time that stays as it is for as long tells.
        """
        if claim.token == self._token:
            return True
        alive = is_process_here(claim.identity)
        if alive is not None:
            return alive
        if claim.has_flock and self._has_flock:
            return False  # Of another container, or before the machine was started anew: else it would have that lock.
        now = time.monotonic()
        modified, since = self._watched.get(claim.token, (claim.modified, now))
        if modified != claim.modified:
            since = now
        self._watched[claim.token] = claim.modified, since
        age = _server_time(path) - claim.modified
        is_old = age >= STALE_SECONDS or (age <= -STALE_SECONDS and now - since >= STALE_SECONDS)
        return not is_old or modified != claim.modified


def _mark(token: str) -> str:
    """What a right over the claim of this token is named after."""
    return hashlib.sha256(token.encode()).hexdigest()[:8]


def _server_time(path: Path) -> float:
    """The time of a file that is made now beside `path`: the clock of whoever keeps the files."""
    probe = temporary_beside(path)
    try:
        with probe.open("xb") as file:
            file.write(b"\n")
            file.flush()
            return os.fstat(file.fileno()).st_mtime
    finally:
        probe.unlink(missing_ok=True)
