"""Devices as torch knows them: which are there, their precision, batch, memory and threads.

Also `patience`, which ends a download from a silent network.
"""

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import re
import socket
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import torch

from psi_core.devices import CPU, Device
from psi_core.engine.memory import total_memory
from psi_core.engine.precision import precision as precision  # noqa: PLC0414 - scripts ask for it here.
from psi_core.errors import ConfigError
from psi_core.plain_text import counted

_BATCH_BYTES = {"cpu": 2**30, "cuda": 2**34}
"""Memory that the activations of one batch may take; on CUDA also at most a quarter of the device."""

_LARGEST_BATCH = {"cpu": 256, "cuda": 1024}
"""Images."""

_MALLOC_MMAP_MAX, _MALLOC_TRIM_THRESHOLD = -4, -1
"""Parameters of mallopt(3)."""


def resolve_device(name: str) -> Device:
    """The device of a name; `auto` is the first GPU that torch was built for, or the CPU.

    Raises:
        ConfigError: there is no such device here, or torch was not built for it.
    """
    if name == "auto":
        return next(map(Device.cuda, usable_gpus()), CPU)
    device, count = Device(name), _gpu_count()
    if device.is_cuda and device.number >= count:
        found = f"this machine has cuda:0 to cuda:{count - 1}" if count else why_no_gpu() or _NO_GPU
        raise ConfigError(f"device: {name} is not there; {found.removeprefix('device: ')}; write cpu or auto")
    if device.is_cuda and (reason := _too_old_or_new(device.number)):
        raise ConfigError(f"device: {reason}; write cpu, or install a torch that was built for it")
    return device


def usable_gpus() -> list[int]:
    """Numbers of the GPUs that torch was built for."""
    return [number for number in range(_gpu_count()) if not _too_old_or_new(number)]


def _gpu_count() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def available_device(device: Device) -> Device:
    """The device of a run, or the one of `auto` where it is missing: another machine may resume a run."""
    try:
        return resolve_device(device)
    except ConfigError:
        return resolve_device("auto")


def device_note(asked: str, device: Device) -> str:
    """Why another device computes than one might expect, in a sentence; empty where nothing is amiss.

    Args:
        asked: name that was asked for; `auto` says that any will do, but a GPU is expected where there is one.
        device: what computes.
    """
    if (device.is_cuda and asked == "auto") or (asked != "auto" and Device(asked) == device):
        return ""
    reason = why_no_gpu()
    if asked != "auto":
        number = Device(asked).number
        old = _too_old_or_new(number) if number < _gpu_count() else ""
        reason = f"device: {old}" if old else reason or f"device: {asked} is not there"
    return "" if reason is None else f"{reason}; {'the CPU' if device == CPU else device} computes instead"


_NO_GPU = "this machine has no CUDA device"


def _too_old_or_new(number: int) -> str:
    """Why this torch has no kernels for a GPU, in half a sentence; empty where it has some."""
    built = [each.partition("_")[::2] for each in torch.cuda.get_arch_list()]
    if not built or torch.version.hip is not None:
        return ""
    major, minor = torch.cuda.get_device_capability(number)
    for kind, digits in built:
        version = digits.rstrip("af")
        own = int(version[:-1] or 0), int(version[-1:] or 0)
        # Machine code runs on later chips of its generation, intermediate code on all later ones.
        if (own[0] == major and own[1] <= minor) if kind == "sm" else own <= (major, minor):
            return ""
    return (
        f"{torch.cuda.get_device_name(number)} has compute capability {major}.{minor}, and torch {torch.__version__} "
        f"was built for {', '.join('_'.join(each) for each in built)}"
    )


def worker_device(device: Device, local: int) -> Device:
    """The device of one worker. Workers take the usable GPUs of their machine in turn; all share one CPU.

    Args:
        device: device of the first worker.
        local: its rank among the workers of this machine.
    """
    if not device.is_cuda:
        return device
    numbers = usable_gpus()
    if device.number not in numbers:
        return device
    return Device.cuda(numbers[(numbers.index(device.number) + local) % len(numbers)])


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
    return _driver_and_gpus()[0]


def why_no_gpu() -> str | None:
    """Why torch computes on the CPU though there is a GPU, in one sentence; None where nothing is amiss.

    GPUs that CUDA_VISIBLE_DEVICES hides are left alone on purpose.
    """
    if torch.cuda.is_available():
        reasons = [_too_old_or_new(number) for number in range(_gpu_count())]
        return f"device: {reasons[0]}" if reasons and all(reasons) else None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip().partition(",")[0] in _HIDING:
        return None
    driver, gpus, trouble = _driver_and_gpus()
    if trouble:
        return f"device: the NVIDIA driver does not answer ({trouble}), and torch {torch.__version__} finds no GPU"
    if not gpus:
        return None
    reason = _refusal()
    if reason in _FINDING_NONE and visible is not None:
        reason = f"CUDA_VISIBLE_DEVICES={visible} names none that is there"
    return f"device: {gpus[0]} with driver {driver} cannot be used by torch {torch.__version__} ({reason})"


_HIDING = ("", "-1", "NoDevFiles")
"""What CUDA_VISIBLE_DEVICES begins with where it hides every GPU; the last is Slurm's, for jobs that asked for none."""

_FINDING_NONE = ("No CUDA GPUs are available", "it reports none")
"""What torch says where nothing is amiss with the driver."""


def _refusal() -> str:
    """What torch says of GPUs that it cannot use."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return str(error).partition(". ")[0].strip().rstrip(".")
    return _FINDING_NONE[1]


def _driver_and_gpus() -> tuple[str | None, list[str], str]:
    """Version of the NVIDIA driver, or None, the names of the GPUs that it lists, and why it tells neither, or nothing.

    A driver that is not there has nothing to tell, and that is no trouble.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
        version = str(pynvml.nvmlSystemGetDriverVersion())
        names, trouble = [], ""
        for number in range(pynvml.nvmlDeviceGetCount()):
            try:
                names.append(str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(number))))
            except pynvml.NVMLError as error:  # One that is lost leaves the others.
                trouble = str(error).rstrip(".")
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        absent = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED
        return None, [], "" if error.value in absent else str(error).rstrip(".")
    return version, names, "" if names else trouble


_LEAST_CAPABILITY = {"exact": 0, "tf32": 0, "bf16": 8}
"""Major compute capability of a GPU that has a precision; bf16 came with Ampere."""


def require_precision(policy: str, device: Device) -> None:
    """Refuses a precision that a GPU only imitates, slowly.

    Raises:
        ConfigError: the GPU is older than the precision.
    """
    if device.is_cuda and torch.version.hip is None:
        major, minor = torch.cuda.get_device_capability(device)
        if major < _LEAST_CAPABILITY[policy]:
            raise ConfigError(
                f"precision: {policy} needs a GPU of compute capability {_LEAST_CAPABILITY[policy]}.0, and "
                f"{torch.cuda.get_device_name(device)} has {major}.{minor}; write exact"
            )


def processor_name() -> str:
    """The processor's model and how many of its cores this process may use."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {counted(usable_cores(), 'core')}"


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def automatic_threads() -> int:
    """Threads that one worker computes with: a core each, or what OMP_NUM_THREADS says, as for all that uses OpenMP."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # A list has a number for each level.
    return min(usable_cores(), int(wanted)) if wanted.isdecimal() and int(wanted) else usable_cores()


def automatic_batch(device: Device, activation_bytes: int, largest: int | None = None) -> int:
    """The largest batch, a power of two, whose activations fit the device.

    Args:
        device: device that computes.
        activation_bytes: bytes of one image's activations, all kept for the gradient.
        largest: images that are enough; None for what is enough for the device.
    """
    budget = _BATCH_BYTES[device.kind]
    if device.is_cuda:
        budget = min(budget, torch.cuda.get_device_properties(device).total_memory // 4)
    else:
        budget = min(budget, total_memory() // 4)
    fitting = max(1, budget // max(1, activation_bytes))
    return min(largest or _LARGEST_BATCH[device.kind], 1 << (fitting.bit_length() - 1))


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next tensors; other C libraries stay as they are.

    By default glibc returns tensors of more than 32 MB to the system and fetches their pages again with every batch.
    That took a tenth of AlexNet's time on a CPU. Kept, the peak of the process was 3 to 8 % higher.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MALLOC_MMAP_MAX, 0)
        set_option(_MALLOC_TRIM_THRESHOLD, 2**31 - 1)


MEMORY_ERRORS = (RuntimeError, MemoryError)
"""Kinds of errors among which `is_out_of_memory` tells those where memory ran out."""

_MEMORY_WORDS = re.compile(
    r"\b(cuda|hip|mps|xpu)\b[^\n]*\bout of memory"
    r"|DefaultCPUAllocator|bad_alloc|alloc_?failed|allocation_failed"
    r"|unable to find an engine to execute this computation"
    r"|unable to find a valid cuDNN algorithm"
    r"|CUBLAS_STATUS_NOT_INITIALIZED when calling .?cublasCreate",
    re.IGNORECASE,
)
"""What torch, the driver, Triton, cuBLAS, cuDNN and their like say where memory ran out, and no error's type does."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device or the machine has no memory left."""
    is_named = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return is_named or (isinstance(error, RuntimeError) and _MEMORY_WORDS.search(str(error)) is not None)


def words_of(error: BaseException) -> str:
    """The first line of what an error says, for half a sentence."""
    return textwrap.shorten(str(error).strip().partition("\n")[0], 160, placeholder=" ...") or type(error).__name__


def free_memory(device: Device) -> None:
    """Gives memory that torch keeps for later tensors of a CUDA device back to it, after it ran out."""
    if device.is_cuda:
        torch.cuda.empty_cache()


def peak_memory(device: Device) -> int:
    """The most bytes that tensors took on a CUDA device, or that this process took on a CPU."""
    if device.is_cuda:
        return torch.cuda.max_memory_allocated(device)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def current_device(device: Device) -> contextlib.AbstractContextManager[Any]:
    """Within the block a CUDA device is the current one: pinned memory and compiled kernels go there.

    Otherwise a worker on the second device would take memory on the first one too.
    """
    return torch.cuda.device(device) if device.is_cuda else contextlib.nullcontext()


def enter_device(device: Device) -> None:
    """Makes a CUDA device the current one of this thread, for as long as it lives: each begins on the first."""
    if device.is_cuda:
        torch.cuda.set_device(device)


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
