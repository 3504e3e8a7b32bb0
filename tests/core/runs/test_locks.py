"""Locks: one holder at a time, whatever the disk's own locks are worth, and a dead owner's is taken once."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from psi_core.runs import locks
from psi_core.runs.locks import has_own_locks, hold
from psi_core.runs.processes import STALE_SECONDS, own_identity

RACE = """
import errno, fcntl, os, sys, time
from pathlib import Path
from psi_core.runs import locks

disk, count, rounds, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
locks._POLL_SECONDS = 0.005

def fails(*_):
    raise OSError(getattr(errno, disk), "planted")

if disk == "lies":
    fcntl.flock = lambda *_: None
    locks.has_own_locks = lambda *_: False
elif disk != "holds":
    fcntl.flock = fails

def work():
    for _ in range(rounds):
        with locks.hold(folder / "a.lock") as is_held:
            assert is_held
            number = int((folder / "count").read_text() or 0)
            with (folder / "log").open("a") as log:
                log.write(f"in {os.getpid()}\\n")
            time.sleep(0.002)
            (folder / "count").write_text(str(number + 1))
            with (folder / "log").open("a") as log:
                log.write(f"out {os.getpid()}\\n")

children = []
for _ in range(count):
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""

OWNER = (
    RACE.partition("def work")[0]
    + """
with locks.hold(folder / "a.lock"):
    print("held", flush=True)
    sys.stdin.read()
"""
)

DISKS = ("holds", "ENOLCK", "EOPNOTSUPP", "ENOSYS", "lies")


def race(folder: Path, disk: str, count: int = 5, rounds: int = 6) -> None:
    """Lets processes take the lock by turns, and holds that no two had it at once."""
    (folder / "count").touch()
    asked = [sys.executable, "-c", RACE, disk, str(count), str(rounds), str(folder)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert int((folder / "count").read_text()) == count * rounds
    lines = [line.split() for line in (folder / "log").read_text().splitlines()]
    assert len(lines) == 2 * count * rounds
    for (first, holder), (second, leaver) in zip(lines[::2], lines[1::2], strict=True):
        assert (first, second, holder) == ("in", "out", leaver)
    assert not list(folder.glob("*.owner*"))


def claim(folder: Path, *, age: float = 0.0, text: str | None = None, **identity: object) -> Path:
    """A claim of another machine, so many seconds old."""
    path = folder / "a.lock.owner"
    values = {**own_identity(), "host": "elsewhere", "boot_id": "another", **identity}
    path.write_text(json.dumps({"token": "0" * 16, "has_flock": False, **values}) if text is None else text)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


@pytest.mark.parametrize("disk", DISKS)
def test_no_two_hold_it_at_once(tmp_path, disk):
    race(tmp_path, disk)


@pytest.mark.parametrize("disk", DISKS)
def test_a_killed_owner_s_is_taken_once_by_those_who_race(tmp_path, disk):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, disk, "1", "1", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout.readline() == "held\n"
        with hold(tmp_path / "a.lock", lambda: True) as is_held:
            assert not is_held, "its owner lives"
        owner.send_signal(signal.SIGKILL)
    assert (tmp_path / "a.lock.owner").exists()
    race(tmp_path, disk, rounds=2)


KILLED = (
    OWNER.partition("with locks.hold")[0]
    + """
def leave(*_, **__):
    os.kill(os.getpid(), 9)

setattr(locks.Path, sys.argv[5], leave)
with locks.hold(folder / "a.lock"):
    pass
"""
)


@pytest.mark.parametrize(("step", "left"), [("replace", 2), ("unlink", 1)])
def test_what_a_killed_taker_leaves_goes_with_the_next(tmp_path, step, left):
    """`replace` puts its claim in the place of the dead owner's, `unlink` gives the right to do so back."""
    claim(tmp_path, age=STALE_SECONDS + 5)
    asked = [sys.executable, "-c", KILLED, "lies", "1", "1", str(tmp_path), step]
    assert subprocess.run(asked, check=False).returncode == -signal.SIGKILL
    files = list(tmp_path.glob("*.owner.*"))
    assert len(files) == left
    for path in files:
        os.utime(path, (time.time() - STALE_SECONDS - 5,) * 2)
    with hold(tmp_path / "a.lock", lambda: True) as is_held:
        assert is_held
        assert [path.name for path in tmp_path.glob("*.owner*")] == ["a.lock.owner"]
    assert not list(tmp_path.glob("*.owner*"))


def test_what_a_living_taker_has_and_what_is_nobody_s_stays(tmp_path, alive):
    claim(tmp_path, age=STALE_SECONDS + 5)
    living = {"token": "1" * 16, "has_flock": False, **alive}
    names = ("a.lock.owner.0123abcd", "a.lock.owner.0123abcd.4567cdef")
    for name in names:
        (tmp_path / name).write_text(json.dumps(living))
        os.utime(tmp_path / name, (1e9, 1e9))
    young = f"a.lock.owner.{os.getpid()}-0a1b2c.tmp"
    others = ("a.lock.owner.thesis", "a.lock.owner.0123abcd.txt", "b.lock.owner.0123abcd")
    for name in (young, *others):
        (tmp_path / name).write_text("{}")
    for name in others:
        os.utime(tmp_path / name, (1e9, 1e9))
    with hold(tmp_path / "a.lock", lambda: True) as is_held:
        assert is_held
    assert {path.name for path in tmp_path.iterdir()} == {"a.lock", *names, young, *others}


def test_a_right_over_one_s_own_claim_is_left_to_whoever_takes_one_for_dead(tmp_path, monkeypatch):
    monkeypatch.setattr(locks.secrets, "token_hex", lambda count: "ab" * count)
    gone = claim(tmp_path, age=STALE_SECONDS + 5)
    right = gone.rename(tmp_path / f"a.lock.owner.{locks._mark('ab' * 8)}")
    with hold(tmp_path / "a.lock", lambda: True) as is_held:
        assert (is_held, right.exists()) == (True, True)


def test_the_dead_owner_of_another_machine_is_taken_once_by_those_who_race(tmp_path):
    claim(tmp_path, age=STALE_SECONDS + 5)
    race(tmp_path, "lies", rounds=2)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": "x"}', "9" * 5000])
def test_a_claim_that_says_nothing_counts_as_long_as_it_is_young(tmp_path, text):
    claim(tmp_path, text=text)
    with hold(tmp_path / "a.lock", lambda: True) as is_held:
        assert not is_held
    claim(tmp_path, text=text, age=STALE_SECONDS + 5)
    with hold(tmp_path / "a.lock", lambda: True) as is_held:
        assert is_held
    assert not list(tmp_path.glob("*.owner*"))


def test_an_owner_elsewhere_lives_while_its_time_is_young_or_moves(tmp_path):
    def is_free() -> bool:
        with hold(tmp_path / "a.lock", lambda: True) as is_held:
            return is_held

    claim(tmp_path, age=STALE_SECONDS / 2)
    assert not is_free()
    claim(tmp_path, age=-10 * STALE_SECONDS)
    assert not is_free(), "a clock that is ahead is no death"
    path = claim(tmp_path, age=2 * STALE_SECONDS)
    with path.with_name("a.lock").open("ab") as file:
        lock = locks._Lock(path.with_name("a.lock"), file)
        lock._watched["0" * 16] = path.stat().st_mtime - 10, time.monotonic()
        assert not lock.take(), "it moved since we looked"
        assert lock.take()


def test_a_clock_of_the_future_that_stands_still_for_a_minute_is_dead(tmp_path):
    path = claim(tmp_path, age=-10 * STALE_SECONDS)
    with path.with_name("a.lock").open("ab") as file:
        lock = locks._Lock(path.with_name("a.lock"), file)
        assert not lock.take()
        ((token, (modified, since)),) = lock._watched.items()
        lock._watched[token] = modified, since - STALE_SECONDS
        assert lock.take()


def test_a_process_id_that_is_another_s_by_now_is_dead(tmp_path):
    claim(tmp_path, **{**own_identity(), "process_start": 1})
    with hold(tmp_path / "a.lock", lambda: True) as is_held:
        assert is_held


def test_an_owner_shows_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.01)
    with hold(tmp_path / "a.lock"):
        owner = tmp_path / "a.lock.owner"
        os.utime(owner, (1, 1))
        deadline = time.monotonic() + 30
        while owner.stat().st_mtime < time.time() - STALE_SECONDS:
            assert time.monotonic() < deadline, "it does not beat"
            time.sleep(0.01)


def test_who_was_taken_for_dead_leaves_the_successor_s_alone(tmp_path):
    with hold(tmp_path / "a.lock") as is_held:
        assert is_held
        path = claim(tmp_path)
    assert json.loads(path.read_text())["host"] == "elsewhere"


def test_who_was_held_between_making_and_writing_has_lost_it(tmp_path, monkeypatch):
    write = os.write

    def late(descriptor: int, data: bytes) -> int:
        (tmp_path / "a.lock.owner").unlink()
        claim(tmp_path)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", late)
    with hold(tmp_path / "a.lock", lambda: True) as is_held:
        assert not is_held


def test_a_right_whose_owner_died_over_it_is_taken_too(tmp_path):
    """The right to replace a dead owner's claim is a lock as well, and its owner may be killed."""
    path = claim(tmp_path, age=STALE_SECONDS + 5)
    with path.with_name("a.lock").open("ab") as file:
        other = locks._Lock(path.with_name("a.lock"), file)
        killed = other._right_over(path, "0" * 16)
        assert killed.__enter__()
    (right,) = tmp_path.glob("a.lock.owner.*")
    with hold(tmp_path / "a.lock", lambda: True) as is_held:
        assert not is_held, "somebody is about to"
    right.write_text(json.dumps({**json.loads(right.read_text()), "process_start": 1}))
    race(tmp_path, "lies", count=3, rounds=1)


def test_no_file_is_made_where_there_is_no_room(tmp_path, monkeypatch):
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", fails)
    with pytest.raises(OSError, match="No space"), hold(tmp_path / "a.lock"):
        pass
    assert not list(tmp_path.glob("*.owner*"))


def test_the_disk_s_own_lock_counts_where_it_can_be_trusted(tmp_path):
    with (tmp_path / "a.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with hold(tmp_path / "a.lock", lambda: True) as is_held:
            assert not is_held


MOUNTS = """\
22 1 0:20 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw - proc proc rw
24 22 0:22 / /home rw shared:1 - nfs4 server:/home rw,vers=4.2
25 24 0:23 / /home/me/my\\040disk rw - ext4 /dev/sdb1 rw
26 22 0:24 / /mnt/ssh rw - fuse.sshfs me@server: rw
27 22 0:25 / /mnt/win rw - cifs //server/share rw
28 22 0:26 / /mnt/vm rw - 9p share rw
29 22 0:27 / /homely rw - xfs /dev/sdc1 rw
30 22 0:28 / /mnt/vm rw - tmpfs none rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "is_local"),
    [
        ("/var/cache", True),
        ("/home", False),
        ("/home/me/.cache", False),
        ("/home/me/my disk/cache", True),
        ("/homely/me", True),
        ("/mnt/ssh/cache", False),
        ("/mnt/win/cache", False),
        ("/mnt/vm/cache", True),
    ],
)
def test_disks_of_a_network_are_known_by_the_list_of_mounts(path, is_local):
    assert has_own_locks(Path(path), MOUNTS) is is_local
