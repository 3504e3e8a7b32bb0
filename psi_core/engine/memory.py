"""Memory of the machine, as far as this process may take it: a container or a batch system may grant less."""

import os
from collections.abc import Iterator
from pathlib import Path

_MEMORY = Path("/proc/meminfo")
_ROOT = Path("/sys/fs/cgroup")
_LEAST_MEMORY = 4 << 30
"""Bytes that every machine has, where the system does not tell."""

_UNLIMITED = 2**60
"""Bytes from which on a limit is none: version 1 writes the largest number there is."""


def total_memory() -> int:
    """Bytes of memory that this process may take if nothing else does: the least of the machine's and the limits."""
    own = _meminfo("MemTotal")
    return min([_physical_memory() if own is None else own, *(limit for limit, _ in _limits())])


def available_memory() -> int:
    """Bytes of memory that this process may still take: what the machine has, and each limit leaves."""
    free = _meminfo("MemAvailable")
    return max(0, min([total_memory() if free is None else free, *(limit - used for limit, used in _limits())]))


def _physical_memory() -> int:
    """All of the machine's, where it is no Linux."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return _LEAST_MEMORY


def _meminfo(name: str) -> int | None:
    try:
        lines = _MEMORY.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _limits() -> Iterator[tuple[int, int]]:
    """Bytes that each control group allows which this process is in, directly or not, and that it has taken.

    Pages of files that it need not keep count as free, as in the machine's own number.
    """
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for group in groups:
        _, controllers, path = [*group.split(":", 2), "", ""][:3]
        if not controllers:
            yield from _levels(_ROOT, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            yield from _levels(_ROOT / "memory", path, *names)


def _levels(root: Path, path: str, limit_name: str, used_name: str, spare_name: str) -> Iterator[tuple[int, int]]:
    """Limit and use at a group and at those above it; within a container, its own group is the root."""
    folder = root / path.lstrip("/")
    for level in [folder, *folder.parents]:
        if level != root and root not in level.parents:
            return
        limit, used = _number(level / limit_name), _number(level / used_name)
        if limit is not None and used is not None and limit < _UNLIMITED:
            yield limit, used - min(used, _spare(level / "memory.stat", spare_name))


def _number(path: Path) -> int | None:
    """The number in a file; None where there is none, or `max`."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdigit() else None


def _spare(path: Path, name: str) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return 0
    return next((int(value) for key, _, value in (line.partition(" ") for line in lines) if key == name), 0)
