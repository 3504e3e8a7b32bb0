"""Devices: which one, how precise, how many images at a time, and what to do when memory runs out.

Downloads that give up: without a network a command must say so, not hang.
"""

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import socket
from collections.abc import Iterator
from typing import Any

import torch

from psi_core.devices import CPU, Device
from psi_core.errors import ConfigError

_BATCH_BYTES = {"cpu": 2**30, "cuda": 2**34}
"""Memory that the activations of one batch may take; on CUDA also at most a quarter of the device."""

_LARGEST_BATCH = {"cpu": 256, "cuda": 1024}


_MALLOC_MMAP_MAX, _MALLOC_TRIM_THRESHOLD = -4, -1
"""Of mallopt(3)."""


def resolve_device(name: str) -> Device:
    """The device of that name, `auto` for the best one here.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        return Device.cuda(0) if torch.cuda.is_available() else CPU
    device = Device(name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.is_cuda and device.number >= count:
        found = f"cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
        raise ConfigError(f"device: {name} is not there; this machine has {found}; write cpu or auto")
    return device


def available_device(device: Device) -> Device:
    """The device that a run names, or the best one here: a run may be resumed on another machine."""
    try:
        return resolve_device(device)
    except ConfigError:
        return resolve_device("auto")


def worker_device(device: Device, local: int) -> Device:
    """The device of one worker: the CUDA devices that it sees in turn, or the same CPU for all.

    Args:
        device: the first worker's.
        local: its rank among the workers of this machine.
    """
    if not device.is_cuda:
        return device
    return Device.cuda((device.number + local) % torch.cuda.device_count())


def describe_device(device: Device) -> dict[str, Any]:
    """The device and the versions that a `started` event records."""
    facts: dict[str, Any] = {
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device.is_cuda else processor_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": importlib.metadata.version("torchvision"),
        "cuda": torch.version.cuda if device.is_cuda else None,
        "driver": driver_version(),
    }
    return facts


def driver_version() -> str | None:
    """Version of the NVIDIA driver, or None where there is none."""
    import pynvml

    try:
        pynvml.nvmlInit()
        version = pynvml.nvmlSystemGetDriverVersion()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
    return str(version)


def processor_name() -> str:
    """The processor's model and how many of its cores this process may use."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {usable_cores()} cores"


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def automatic_batch(device: Device, activation_bytes: int) -> int:
    """A power of two of images whose activations fit the device.

    Args:
        device: that computes.
        activation_bytes: what one image's activations take when all are kept for the gradient.
    """
    budget = _BATCH_BYTES[device.kind]
    if device.is_cuda:
        budget = min(budget, torch.cuda.get_device_properties(device).total_memory // 4)
    fitting = max(1, budget // max(1, activation_bytes))
    return min(_LARGEST_BATCH[device.kind], 1 << (fitting.bit_length() - 1))


def keep_freed_memory() -> None:
    """Lets this process keep what it frees for what it takes next, where the C library is glibc.

    Otherwise tensors of more than 32 MB are handed back and fetched anew, page by page, with every batch: a tenth of
    AlexNet's time on a CPU. The process's peak was 3 to 8 % higher.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MALLOC_MMAP_MAX, 0)
        set_option(_MALLOC_TRIM_THRESHOLD, 2**31 - 1)


@contextlib.contextmanager
def precision(policy: str, device: Device) -> Iterator[None]:
    """Runs the block at one precision: `exact` (IEEE fp32, deterministic), `tf32` or `bf16`; puts back what was set."""
    backends: Any = torch.backends  # Its stubs lack the fp32_precision settings.
    cudnn = backends.cudnn
    before = (backends.fp32_precision, cudnn.conv.fp32_precision, cudnn.deterministic, cudnn.benchmark)
    fp32 = "tf32" if policy == "tf32" else "ieee"
    backends.fp32_precision = cudnn.conv.fp32_precision = fp32
    cudnn.deterministic, cudnn.benchmark = policy == "exact", policy != "exact"
    try:
        with torch.autocast(device.kind, torch.bfloat16) if policy == "bf16" else contextlib.nullcontext():
            yield
    finally:
        backends.fp32_precision, cudnn.conv.fp32_precision, cudnn.deterministic, cudnn.benchmark = before


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the device or the machine had no memory left for a batch."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def peak_memory(device: Device) -> int:
    """Bytes: the most that tensors took on a CUDA device, or the process's peak resident size."""
    if device.is_cuda:
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def current_device(device: Device) -> contextlib.AbstractContextManager[Any]:
    """Within the block this device is CUDA's current one: pinned memory and kernels made on the way belong to it.

    Without it a worker on the second device would take memory on the first one too.
    """
    return torch.cuda.device(device) if device.is_cuda else contextlib.nullcontext()


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Within the block torch computes on so many threads: another number may round, and turn signs, otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_SECONDS = 20.0


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Within the block, a connection that stays silent for 20 seconds is an OSError."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
