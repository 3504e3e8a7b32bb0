"""Devices as torch knows them: which are there, their precision, batch, memory and threads.

Also `patience`, which ends a download from a silent network.
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
"""Images."""

_MALLOC_MMAP_MAX, _MALLOC_TRIM_THRESHOLD = -4, -1
"""Parameters of mallopt(3)."""


def resolve_device(name: str) -> Device:
    """The device of a name; `auto` is the first GPU, or the CPU.

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
    """The device of a run, or the one of `auto` where it is missing: another machine may resume a run."""
    try:
        return resolve_device(device)
    except ConfigError:
        return resolve_device("auto")


def worker_device(device: Device, local: int) -> Device:
    """The device of one worker. Workers take the CUDA devices of their machine in turn; all share one CPU.

    Args:
        device: device of the first worker.
        local: its rank among the workers of this machine.
    """
    if not device.is_cuda:
        return device
    return Device.cuda((device.number + local) % torch.cuda.device_count())


def describe_device(device: Device) -> dict[str, Any]:
    """The device and the versions that a `started` event records."""
    return {
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device.is_cuda else processor_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": importlib.metadata.version("torchvision"),
        "cuda": torch.version.cuda if device.is_cuda else None,
        "driver": driver_version(),
    }


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
    """The largest batch, a power of two, whose activations fit the device.

    Args:
        device: device that computes.
        activation_bytes: bytes of one image's activations, all kept for the gradient.
    """
    budget = _BATCH_BYTES[device.kind]
    if device.is_cuda:
        budget = min(budget, torch.cuda.get_device_properties(device).total_memory // 4)
    fitting = max(1, budget // max(1, activation_bytes))
    return min(_LARGEST_BATCH[device.kind], 1 << (fitting.bit_length() - 1))


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next tensors; other C libraries stay as they are.

    By default glibc returns tensors of more than 32 MB to the system and fetches their pages again with every batch.
    That took a tenth of AlexNet's time on a CPU. Kept, the peak of the process was 3 to 8 % higher.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MALLOC_MMAP_MAX, 0)
        set_option(_MALLOC_TRIM_THRESHOLD, 2**31 - 1)


@contextlib.contextmanager
def precision(policy: str, device: Device) -> Iterator[None]:
    """Within the block torch computes at one precision: `exact` (IEEE fp32, deterministic), `tf32` or `bf16`."""
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
    """Whether an error says that the device or the machine has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def peak_memory(device: Device) -> int:
    """The most bytes that tensors took on a CUDA device, or that this process took on a CPU."""
    if device.is_cuda:
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def current_device(device: Device) -> contextlib.AbstractContextManager[Any]:
    """Within the block a CUDA device is the current one: pinned memory and compiled kernels go there.

    Otherwise a worker on the second device would take memory on the first one too.
    """
    return torch.cuda.device(device) if device.is_cuda else contextlib.nullcontext()


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Within the block torch computes on a number of CPU threads. Another number may round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_MOST_SILENCE = 20.0
"""Seconds."""


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Within the block, a connection that stays silent for 20 seconds is an OSError."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_MOST_SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
