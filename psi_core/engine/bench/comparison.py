"""Engine, floor, an expert's script and the usual way in turn in one process, on the same images.

The floor is the least that any program must compute: one forward with gradient, the input gradient, and one inference
forward for every further condition, all of torch's own. Its images lie ready as floats; it measures and keeps nothing.
"""

import ctypes
import itertools
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from psi_core.config import RunConfig
from psi_core.devices import Device
from psi_core.engine.attacks.gradients import gradient_of
from psi_core.engine.bench.usual_way import expert_way, installed_library, usual_way
from psi_core.engine.devices import current_device, describe_device
from psi_core.engine.images import read_inputs
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.sources import input_channels
from psi_core.engine.precision import precision
from psi_core.engine.preparation import prepare
from psi_core.engine.work.chunk_maker import ChunkMaker, make_chunk_maker
from psi_core.errors import RunError

_BATCHES, _CHUNKS = 2, 4
"""Images of a round: these batches or, where batches of several chunks are computed at once, the run's own chunks."""

_WARM_UP = {"cpu": 1, "cuda": 3}
"""Rounds before the first that counts: on a GPU the engine may record its fifth batch."""

Work = Callable[[], object]
"""One round of a contender: the same images under the same conditions."""

Batch = tuple[Tensor, Tensor]
"""Images as the network takes them, and their labels; on the device."""


def bench_row(config: RunConfig, rounds: int = 5, *, with_usual: bool = True) -> dict[str, Any]:
    """Images per second and peak memory of engine, floor, expert's script and usual way, and how they compare.

    `ratio` is the engine's speed over the floor's, `expert_ratio` over the script's of an expert, who keeps sums
    instead of activations and shares one gradient, and `usual_ratio` over the usual way's: the median over rounds, each
    compared within itself. Memory is the peak in bytes, images included, model excluded; None where the system does not
    tell. Fields of the usual way are None where no library for it is installed.

    Args:
        config: the run to imitate, with random weights; its images are two batches, or where the engine computes
            several batches at once, four of the run's own chunks.
        rounds: how often each is timed, after rounds to warm up.
        with_usual: whether the expert's script is timed, and the usual way where a library for it is installed.
    """
    prepared = prepare(config.model_copy(update={"weights": "random"}))
    resolved = prepared.config
    device, is_queued = resolved.device, resolved.abreast > 1
    images = min(_CHUNKS * resolved.chunk if is_queued else _BATCHES * resolved.batch, len(prepared.dataset))
    chunks = np.split(np.arange(images), range(resolved.chunk, images, resolved.chunk) if is_queued else [])
    torch.set_num_threads(resolved.threads)
    prepared.classifier.move_to(device)
    maker = make_chunk_maker(resolved, prepared, device)
    batches = _ready_batches(maker, images, resolved.size, input_channels(prepared.classifier.network))
    contenders: dict[str, Work] = {
        "engine": lambda: _make(maker, chunks),
        "floor": lambda: _floor(prepared.classifier, batches, len(resolved.conditions) - 1),
    }
    library = installed_library() if with_usual else None
    if with_usual:
        script = expert_way(prepared.classifier, resolved.conditions)
        contenders["expert"] = lambda: [script(*batch) for batch in batches]
    if library is not None:
        measure = usual_way(library, prepared.classifier, resolved.conditions)
        contenders["usual"] = lambda: [measure(*batch) for batch in batches]
    try:
        with precision(resolved.precision, device), current_device(device):
            seconds = _seconds(contenders, rounds, device)
            memory = {name: peak_growth(work, device) for name, work in contenders.items()}
        if memory["engine"] is not None:
            memory["engine"] += maker.step.held_bytes
    finally:
        maker.leave()
    for name in memory.keys() - {"engine"}:
        # All others work on batches made before, which the peak leaves out; one of them is counted here.
        memory[name] = None if (peak := memory[name]) is None else peak + batches[0][0].nbytes
    speeds = {name: images / statistics.median(taken) for name, taken in seconds.items()}
    return {
        "model": resolved.model,
        "size": resolved.size,
        "batch": resolved.batch,
        "precision": resolved.precision,
        "compile": resolved.compile,
        "conditions": len(resolved.conditions),
        "images": images,
        "engine_images_per_second": speeds["engine"],
        "floor_images_per_second": speeds["floor"],
        "ratio": _ratio(seconds, "floor"),
        "expert_images_per_second": speeds.get("expert"),
        "expert_ratio": _ratio(seconds, "expert") if with_usual else None,
        "usual_way": library,
        "usual_images_per_second": speeds.get("usual"),
        "usual_ratio": _ratio(seconds, "usual") if library is not None else None,
        "engine_memory": memory["engine"],
        "floor_memory": memory["floor"],
        "expert_memory": memory.get("expert"),
        "usual_memory": memory.get("usual"),
        "memory_ratio": memory["engine"] / memory["floor"] if memory["engine"] and memory["floor"] else None,
        **describe_device(device),
    }


def _ready_batches(maker: ChunkMaker, images: int, size: int, channels: int) -> list[Batch]:
    batches = []
    for start in range(0, images, maker.batch):
        positions = np.arange(start, min(start + maker.batch, images))
        labels = torch.from_numpy(maker.dataset.labels[positions]).to(maker.device)
        batches.append((read_inputs(maker.dataset, positions, size, channels, maker.device), labels))
    return batches


def _make(maker: ChunkMaker, chunks: Sequence[NDArray[np.int64]]) -> None:
    for chunk, following in itertools.zip_longest(chunks, chunks[1:]):
        maker.make(chunk, lambda _chunk: None, refuse_smaller, following)


def refuse_smaller(batch: int, _smaller: int) -> None:
    """What is told where memory runs out: a smaller batch would be timed as if it were this one.

    Raises:
        RunError: always.
    """
    raise RunError(f"memory: batches of {batch} images do not fit on the device; write a smaller --batch")


def _floor(model: Classifier, batches: list[Batch], further: int) -> None:
    for images, labels in batches:
        with torch.enable_grad():
            inputs = images.detach().requires_grad_()
            gradient_of(model(inputs), inputs, labels)
        with torch.inference_mode():
            for _ in range(further):
                model(images)


def _seconds(contenders: Mapping[str, Work], rounds: int, device: Device) -> dict[str, list[float]]:
    """Seconds of every round by contender; they take turns, so that a slower machine slows all alike."""
    for work in contenders.values():
        for _ in range(_WARM_UP[device.kind]):
            work()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            _synchronize(device)
            started = time.perf_counter()
            work()
            _synchronize(device)
            seconds[name].append(time.perf_counter() - started)
    return seconds


def _synchronize(device: Device) -> None:
    if device.is_cuda:
        torch.cuda.synchronize(device)


def _ratio(seconds: Mapping[str, list[float]], other: str) -> float:
    return statistics.median(theirs / ours for ours, theirs in zip(seconds["engine"], seconds[other], strict=True))


_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Written to `clear_refs`, it resets the kernel's record of a process's peak (Linux, proc_pid_clear_refs(5))."""


def peak_growth(work: Callable[[], object], device: Device) -> int | None:
    """Peak memory of some work in bytes, above what was taken before it.

    On CUDA it counts tensors, on a CPU the whole process; None where the system does not report it.
    """
    if device.is_cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    # Memory that the C library keeps of earlier work would hide what this work takes. Only glibc can return it.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    try:
        if trim is not None:
            trim(0)
        _RESET.write_text(_RESET_PEAK, encoding="ascii")
        idle = _kibibytes("VmRSS")
        work()
        return max(0, _kibibytes("VmHWM") - idle) * 1024
    except OSError:
        return None


def _kibibytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) if found else 0
