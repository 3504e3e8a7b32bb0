"""Processes: which worker this one is, whether another still lives, and how a child is started and left alone."""

import calendar
import contextlib
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any, TypedDict

from psi_core.errors import ConfigError
from psi_core.files import read_whole
from psi_core.runs.events import Started


@dataclass(frozen=True, slots=True)
class Rank:
    """One worker among those that share a run.

    Attributes:
        number: from 0.
        workers: how many share the run.
        local: from 0, among those on this machine; it picks the device.
    """

    number: int = 0
    workers: int = 1
    local: int = 0


ALONE = Rank()
"""One worker of one."""


@dataclass(frozen=True, slots=True)
class _Names:
    number: str
    workers: str
    local: str
    launcher: str


# torchrun inside an srun step has both: its own come first.
_TORCHRUN = _Names("RANK", "WORLD_SIZE", "LOCAL_RANK", "torchrun")
_SRUN = _Names("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "srun")


def rank_of(environment: Mapping[str, str] = os.environ) -> Rank:
    """The rank that the variables of torchrun, else those of srun, describe; one worker of one without them.

    An sbatch script sets SLURM_PROCID too, but only an srun step says how many tasks it has.

    Raises:
        ConfigError: a variable is missing, no whole number, or not below the number of workers.
    """
    if "RANK" in environment:
        return _read(_TORCHRUN, environment)
    if "SLURM_STEP_NUM_TASKS" in environment:
        return _read(_SRUN, environment)
    if "WORLD_SIZE" in environment:
        raise _half_set("WORLD_SIZE", "RANK", _TORCHRUN)
    return ALONE


def _read(names: _Names, environment: Mapping[str, str]) -> Rank:
    for name, other in ((names.number, names.workers), (names.workers, names.number)):
        if name not in environment:
            raise _half_set(other, name, names)
    number, workers = (_count(name, environment, names) for name in (names.number, names.workers))
    if number >= workers:
        raise ConfigError(
            f"{names.number}: {number} is not below {names.workers} {workers}; leave both to {names.launcher}, "
            f"or count from 0 to {names.workers} - 1"
        )
    local = _count(names.local, environment, names) if names.local in environment else number
    return Rank(number, workers, local)


def _count(name: str, environment: Mapping[str, str], names: _Names) -> int:
    text = environment[name]
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{name}: {text!r} is no whole number; leave it to {names.launcher}, or unset it")
    return int(text)


def _half_set(given: str, missing: str, names: _Names) -> ConfigError:
    return ConfigError(f"{given}: it is set and {missing} is not; leave both to {names.launcher}, or unset {given}")


HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
"""A worker on another machine counts as alive while its event log is younger than this."""


class Identity(TypedDict):
    """Which process of which machine a worker is, as a `Started` event records it."""

    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    process_start: int | None


def own_identity() -> Identity:
    """Who this process is."""
    pid = os.getpid()
    return {
        "host": platform.node(),
        "boot_id": _boot_id(),
        "pid_namespace": _pid_namespace(),
        "pid": pid,
        "process_start": _process_start(pid),
    }


def is_here(worker: Started) -> bool:
    """Whether a worker belongs to the boot and process namespace of this process: its process id is then valid here."""
    return is_process_here(_identity_of(worker)) is not None


def _identity_of(worker: Started) -> dict[str, object]:
    return {key: getattr(worker, key) for key in Identity.__annotations__}


def is_process_here(identity: Mapping[str, object]) -> bool | None:
    """Whether the process of an `own_identity` runs and is no zombie; None for one of another machine or container."""
    pid = identity.get("pid")
    if not isinstance(pid, int) or not identity.get("boot_id") == _boot_id() != "":
        return None
    if identity.get("pid_namespace") != _pid_namespace():
        return None
    start = _process_start(pid)
    return start is not None and start == identity.get("process_start")


@dataclass(slots=True)
class Pulse:
    """When the log of a worker elsewhere was last seen to change, by our own clock.

    Attributes:
        written: the log's modification time, by the file server's clock; None before the first look.
        seen: when it became that, in seconds of our monotonic clock; None while it stays as it was at the first look.
    """

    written: float | None = None
    seen: float | None = None

    def beats(self, written: float) -> bool:
        """Whether the log was seen to change within the last minute."""
        if self.written is not None and written != self.written:
            self.seen = time.monotonic()
        self.written = written
        return self.seen is not None and time.monotonic() - self.seen < STALE_SECONDS


def is_alive(worker: Started, log: Path, pulse: Pulse | None = None) -> bool:
    """Whether a worker still runs.

    Here the process table answers, and a zombie is dead; elsewhere a heartbeat does, the modification time of its event
    log, younger than a minute. A time in the future says that clocks differ: then only a log that grows is alive.

    Args:
        worker: how it began.
        log: its event log.
        pulse: what earlier looks saw, and this one adds to.
    """
    here = is_process_here(_identity_of(worker))
    if here is not None:
        return here
    try:
        written = log.stat().st_mtime
    except OSError:
        return False
    has_grown = pulse is not None and pulse.beats(written)
    return has_grown or -STALE_SECONDS < time.time() - written < STALE_SECONDS


def is_paused(worker: Started) -> bool:
    """Whether a living worker is held by a signal; of one elsewhere nobody knows."""
    found = _process(worker.pid) if is_here(worker) else None
    return found is not None and found[0] in "Tt"


def worker_environment(workers: int, config: object = None) -> dict[str, str]:
    """Variables to start a worker with that shares its cores, before torch is loaded; the first hands them on.

    OpenMP's threads spin while they wait, on the very cores that other workers and decoders need: on two cores, five
    to seven times slower.

    Args:
        workers: how many there are.
        config: configuration of the run as JSON has it, where it is known: a run with pictures has processes that
            decode them.
    """
    sources = [str(config.get(field, "")) for field in ("data", "attacked")] if isinstance(config, Mapping) else []
    has_decoders = any(source.partition(":")[0] in ("folder", "torchvision") for source in sources)
    return {"OMP_WAIT_POLICY": "PASSIVE"} if workers > 1 or has_decoders else {}


def share_cores(workers: object, config: Mapping[str, Any]) -> None:
    """Sets `worker_environment` in this process, before torch is loaded: OpenMP reads it once.

    Args:
        workers: how many there are; what is no number, and so will be refused, is treated as one.
        config: configuration of the run, as JSON has it.
    """
    count = int(str(workers)) if str(workers).isdecimal() else 1
    for name, value in worker_environment(count, config).items():
        os.environ.setdefault(name, value)


def recorded_config(run_directory: Path) -> dict[str, Any]:
    """`config.json` of a run; empty where it cannot be read, which is reported by whoever opens the run."""
    try:
        config = json.loads(read_whole(run_directory / "config.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def server_environment() -> dict[str, str]:
    """Variables to start a child with that works beside others: one thread, and none that spins."""
    libraries = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {"OMP_WAIT_POLICY": "PASSIVE", **dict.fromkeys(libraries, "1")}


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours, with no file of the current folder in the place of a library."""
    return [sys.executable, "-P", "-m", module, *arguments]


def start_child(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    output: int | IO[Any] | None = None,
    errors: int | IO[Any] | None = None,
) -> subprocess.Popen[str]:
    """Starts `python -m psi_core ARGUMENTS` in a session of its own, so that a hang-up of ours does not reach it.

    Args:
        arguments: what follows `python -m psi_core`.
        environment: variables added to ours.
        output: target of its standard output and error; None pipes the output and shares our standard error.
        errors: target of its standard error instead.
    """
    return subprocess.Popen(
        python_command("psi_core", *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if output is None else output,
        stderr=output if errors is None else errors,
        env={**os.environ, **(environment or {}), "PYTHONSAFEPATH": "1"},  # Its own children inherit it.
        text=True,
        start_new_session=True,
        cwd=None if _has_folder() else os.sep,
    )


def _has_folder() -> bool:
    """Whether the current folder is still there; libraries that torch loads refuse to start in one that is gone."""
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd says no more.
    except OSError:
        return False
    return True


_PROC = Path("/proc")
"""Where Linux tells of processes. macOS has no such folder: there `ps` and `sysctl` tell the same."""

_TOLD_SECONDS = 1.0
"""For so long the answer of `ps` is taken for the present one."""

STILL_SECONDS, LONGEST_SECONDS = 60.0, 1800.0
"""How long a child that was asked may do nothing at all, and how long it may compute."""


class Patience:
    """How long one answer of a child, or of a thread, is waited for: not long where it does nothing.

    Time counts as the system runs us: a machine that slept, or a stopped job, has waited for nobody.

    Args:
        pid: of the child.
        longest_seconds: how long it may compute; LONGEST_SECONDS by default.
        thread: the system's number of a thread of that process, if that alone is waited for.
    """

    def __init__(self, pid: int, longest_seconds: float | None = None, thread: int | None = None) -> None:
        self._look_at = partial(_processor_ticks, pid) if thread is None else partial(_thread_ticks, pid, thread)
        self._longest = LONGEST_SECONDS if longest_seconds is None else longest_seconds
        self._looked = time.monotonic()
        self._waited = self._still = 0.0
        self._used: int | None = -1  # Looked at when first asked: nearly all answers come before, and there are many.

    @property
    def look_seconds(self) -> float:
        """How often `reason` is to be asked for."""
        return min(1.0, STILL_SECONDS / 4)

    def reason(self) -> str:
        """Why it is waited for no longer, in half a sentence; empty while it is."""
        now = time.monotonic()
        passed = min(now - self._looked, 2 * self.look_seconds)
        used, before = self._look_at(), self._used
        self._looked, self._used = now, used
        self._waited += passed
        self._still = 0.0 if used is None or used != before else self._still + passed
        if self._still >= STILL_SECONDS:
            return f"it did nothing for {self._still:.0f} s"
        return f"it took {self._waited / 60:.0f} minutes" if self._waited >= self._longest else ""


def _processor_ticks(pid: int) -> int | None:
    """Time that a process and its children have computed; None where the system does not tell."""
    fields = _process_fields(pid)
    if not fields:
        return None
    return int(fields[11]) + int(fields[12]) + sum(_processor_ticks(child) or 0 for child in _children(pid))


def _thread_ticks(pid: int, thread: int) -> int | None:
    """Time that one thread of a process has computed; None where the system does not tell."""
    fields = _process_fields(f"{pid}/task/{thread}")
    return int(fields[11]) + int(fields[12]) if fields else None


def _children(pid: int) -> Iterator[int]:
    for thread in (_PROC / str(pid) / "task").glob("*/children"):
        with contextlib.suppress(OSError):  # The thread or its process has ended.
            yield from map(int, thread.read_text(encoding="ascii").split())


def _boot_id() -> str:
    """What only this boot of this machine has; empty where the system does not tell."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return _boot_by_sysctl()


@lru_cache(maxsize=1)
def _boot_by_sysctl() -> str:
    return _answer("sysctl", "-n", "kern.bootsessionuuid")


def _pid_namespace() -> str:
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""


def _process_start(pid: int) -> int | None:
    """When a process began, in clock ticks since boot, where `ps` tells in seconds; None for none or a zombie."""
    found = _process(pid)
    return None if found is None or found[0] in "ZX" else found[1]


def _process(pid: int) -> tuple[str, int] | None:
    """State of a process, in a letter, and when it began; None where there is none."""
    if not (_PROC / "self/stat").exists():
        return _process_by_ps(pid, int(time.monotonic() / _TOLD_SECONDS))
    fields = _process_fields(pid)
    return (fields[0], int(fields[19])) if fields else None


def _process_fields(place: int | str) -> list[str]:
    """What Linux tells of a process or thread from its state on; nothing where there is none, or elsewhere."""
    try:
        stat = (_PROC / str(place) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # The second field, the command, may hold spaces and parentheses; the fixed fields follow its last one.
    return stat[stat.rfind(")") + 2 :].split()


@lru_cache(maxsize=64)
def _process_by_ps(pid: int, _moment: int) -> tuple[str, int] | None:
    state, _, began = _answer("ps", "-o", "stat=,lstart=", "-p", str(pid)).partition(" ")
    try:
        return state[0], calendar.timegm(time.strptime(began.strip(), "%a %b %d %H:%M:%S %Y"))
    except (IndexError, ValueError):
        return None


def _answer(*command: str) -> str:
    """What a command of the system prints, in English and in UTC; empty where it is not there or fails."""
    told = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=told, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""


@contextlib.contextmanager
def beating(beat: Callable[[], object], seconds: float) -> Iterator[None]:
    """Calls `beat` every so many seconds within the block, in a thread; an OSError of one ends no others."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(seconds):
            with contextlib.suppress(OSError):  # A disk that is full may be freed.
                beat()

    thread = threading.Thread(target=go_on, daemon=True, name="beat")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
