"""How much memory a piece of work takes at its height, above what was taken before it."""

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""What resets the kernel's record of a process's peak (Linux, proc_pid_clear_refs(5))."""


def peak_growth(work: Callable[[], None], device: str) -> int | None:
    """Bytes that work takes at its height: of tensors on CUDA, of the whole process on a CPU.

    None where the system does not tell.
    """
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        _return_freed_memory()
        _RESET.write_text(_RESET_PEAK, encoding="ascii")
        idle = _kibibytes("VmRSS")
        work()
        return max(0, _kibibytes("VmHWM") - idle) * 1024
    except OSError:
        return None


def _return_freed_memory() -> None:
    """What earlier work has freed and the C library keeps would hide what this one takes."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # Only glibc has it.
    if trim is not None:
        trim(0)


def _kibibytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) if found else 0
