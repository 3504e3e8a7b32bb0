"""The machine's GPUs through NVML, and the devices that a run can be given. What NVML refuses is not known.

NVML counts in PCI order. CUDA does too where all GPUs are alike, and always with CUDA_DEVICE_ORDER=PCI_BUS_ID.
"""

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psi_core.devices import CPU, Device
from psi_tui.text.formatting import format_bytes

NOT_KNOWN = "n/a"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as it is now; None where NVML does not say: no permission, MIG, a device that fell off the bus.

    Attributes:
        index: its place in NVML's order.
        name: short name, as `H100`.
        utilization_percent: share of the last second or less in which a kernel ran.
        memory_used: bytes taken by all processes.
        memory_total: bytes of the whole device.
        uuid: `GPU-...`, by which CUDA_VISIBLE_DEVICES may name it.
    """

    index: int
    name: str | None = None
    utilization_percent: int | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    uuid: str | None = None

    @property
    def memory_free(self) -> int | None:
        """Bytes that are free, or None."""
        if self.memory_total is None or self.memory_used is None:
            return None
        return self.memory_total - self.memory_used


@functools.cache
def nvml() -> Any | None:
    """The NVML library, initialized at the first call and kept; None where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def read_gpus() -> tuple[Gpu, ...]:
    """Every GPU of this machine as it is now; none without a driver. Takes milliseconds: call it in a thread."""
    library = nvml()
    count = _known(library.nvmlDeviceGetCount) if library else None
    return tuple(_read_gpu(library, index) for index in range(count or 0))


def gpu_line(gpu: Gpu) -> str:
    """One GPU in words: `GPU 0 H100: 87 %, 12.3 of 85.5 GB`, with `n/a` for what is not known."""
    title = f"GPU {gpu.index} {gpu.name}" if gpu.name else f"GPU {gpu.index}"
    facts = [
        None if gpu.utilization_percent is None else f"{gpu.utilization_percent} %",
        _part_of(gpu.memory_used, gpu.memory_total),
    ]
    if not any(facts):
        return f"{title}: {NOT_KNOWN}"
    return f"{title}: {', '.join(fact or NOT_KNOWN for fact in facts)}"


def visible_gpus() -> tuple[Gpu, ...]:
    """The GPUs that CUDA shows to a process started from here: the K-th is `cuda:K`.

    CUDA_VISIBLE_DEVICES selects and orders them; a name that is not there ends its list.
    """
    gpus, wanted = read_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return gpus
    chosen: list[Gpu] = []
    for name in wanted.split(","):
        found = _named(name.strip(), gpus)
        if found is None:
            break
        chosen.append(found)
    return tuple(chosen)


def device_choices() -> list[tuple[str, str]]:
    """Label and value of every device that a run can be given here: auto, cpu, and each GPU with its free memory."""
    choices: list[tuple[str, str]] = [("auto: the first GPU, else the CPU", "auto"), ("cpu", CPU)]
    for number, gpu in enumerate(visible_gpus()):
        free = _part_of(gpu.memory_free, gpu.memory_total)
        device = Device.cuda(number)
        choices.append((f"{device}  {gpu.name or 'GPU'}, {free or NOT_KNOWN} free", device))
    return choices


def _known(call: Callable[..., Any], *arguments: Any) -> Any | None:
    """What a function of NVML gives, or None where it refuses."""
    import pynvml

    try:
        return call(*arguments)
    except pynvml.NVMLError:
        return None


def _read_gpu(library: Any, index: int) -> Gpu:
    handle = _known(library.nvmlDeviceGetHandleByIndex, index)
    if handle is None:
        return Gpu(index)
    name, uuid = (_known(read, handle) for read in (library.nvmlDeviceGetName, library.nvmlDeviceGetUUID))
    modes = _known(library.nvmlDeviceGetMigMode, handle)
    if modes and modes[0] == library.NVML_DEVICE_MIG_ENABLE:
        # CUDA then sees a slice of the device; the numbers of the whole would mislead.
        return Gpu(index, f"{_short(name)} MIG" if name else "MIG", uuid=uuid)
    rates = _known(library.nvmlDeviceGetUtilizationRates, handle)
    memory = _known(library.nvmlDeviceGetMemoryInfo, handle)
    return Gpu(
        index,
        _short(name) if name else None,
        int(rates.gpu) if rates else None,
        int(memory.used) if memory else None,
        int(memory.total) if memory else None,
        uuid,
    )


def _short(name: str) -> str:
    """A GPU's name without its maker and its memory: `NVIDIA H100 80GB HBM3` is `H100`."""
    return re.sub(r"[ -]\d+ ?GB.*", "", name).removeprefix("NVIDIA ").removeprefix("Tesla ")


def _named(name: str, gpus: tuple[Gpu, ...]) -> Gpu | None:
    """The GPU that one entry of CUDA_VISIBLE_DEVICES means: a number, the start of a UUID, or a MIG instance."""
    if name.isdecimal():
        return next((gpu for gpu in gpus if gpu.index == int(name)), None)
    if name.startswith("MIG-"):
        return Gpu(0, "MIG")
    return next((gpu for gpu in gpus if name.startswith("GPU-") and (gpu.uuid or "").startswith(name)), None)


def _part_of(part: int | None, whole: int | None) -> str | None:
    """`12.3 of 85.5 GB`, the unit once where both have the same; None where one is not known."""
    if part is None or whole is None:
        return None
    number, unit = format_bytes(part).split()
    return f"{number if format_bytes(whole).endswith(f' {unit}') else f'{number} {unit}'} of {format_bytes(whole)}"
