"""The bench: the engine against the floor, the least that any program must compute, alternating in one process.

And, where an attack library is installed, against the usual way of computing the same.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from psi_core.config import RunConfig
from psi_core.engine.chunk_maker import ChunkMaker, make_chunk_maker
from psi_core.engine.datasets import read_inputs
from psi_core.engine.devices import current_device, describe_device, precision
from psi_core.engine.gradients import input_gradient
from psi_core.engine.memory_meter import peak_growth
from psi_core.engine.models import Classifier, input_channels
from psi_core.engine.preparation import prepare
from psi_core.engine.usual_way import installed_library, usual_way

_BATCHES = 2

Work = Callable[[], None]


def bench_row(config: RunConfig, rounds: int = 5) -> dict[str, Any]:
    """Images per second and peak memory of the engine, of the floor and of the usual way, and how they compare.

    The floor: the same model, batch, precision and memory format; one forward with gradient, the input gradient, one
    inference forward per further condition; images ready as floats, nothing measured, nothing kept. `ratio` is the
    engine's speed over the floor's, `usual_ratio` over the usual way's; the median of rounds, each compared with its
    neighbor. Memory is what each takes at its height, its images included, the model not, in bytes; None where the
    system does not tell. What belongs to the usual way is None where no library for it is installed.

    Args:
        config: the run to imitate, with random weights; its images are one chunk of two batches.
        rounds: how often each is timed, after one of each to warm up.
    """
    prepared = prepare(config.model_copy(update={"weights": "random"}))
    resolved = prepared.config
    assert isinstance(resolved.batch, int) and resolved.size is not None, "a prepared run's configuration is resolved"
    assert isinstance(resolved.threads, int), "a prepared run's configuration is resolved"
    device, images = resolved.device, min(_BATCHES * resolved.batch, len(prepared.dataset))
    torch.set_num_threads(resolved.threads)
    prepared.classifier.to(device)
    maker = make_chunk_maker(resolved, prepared, device)
    batches = _ready_batches(maker, images, resolved.size, input_channels(prepared.classifier.network))
    contenders: dict[str, Work] = {
        "engine": lambda: _engine(maker, images),
        "floor": lambda: _floor(prepared.classifier, batches, len(resolved.conditions) - 1),
    }
    library = installed_library()
    if library is not None:
        take = usual_way(library, prepared.classifier, resolved.conditions)
        contenders["usual"] = lambda: _usual(take, batches)
    with precision(resolved.precision, device), current_device(device):
        seconds, memory = _measured(contenders, rounds, device)
    for name in memory.keys() - {"engine"}:
        # Theirs was made before: the batch that they work on.
        memory[name] = None if (taken := memory[name]) is None else taken + batches[0][0].nbytes
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
        "usual_way": library,
        "usual_images_per_second": speeds.get("usual"),
        "usual_ratio": _ratio(seconds, "usual") if library is not None else None,
        "engine_memory": memory["engine"],
        "floor_memory": memory["floor"],
        "usual_memory": memory.get("usual"),
        "memory_ratio": memory["engine"] / memory["floor"] if memory["engine"] and memory["floor"] else None,
        **describe_device(device),
    }


def _measured(
    contenders: Mapping[str, Work], rounds: int, device: str
) -> tuple[dict[str, list[float]], dict[str, int | None]]:
    """Seconds of every round and contender, alternating, and the peak memory of one round of each."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    memory: dict[str, int | None] = {}
    for work in contenders.values():
        work()
    for _ in range(rounds):
        for name, work in contenders.items():
            seconds[name].append(_timed(work, device))
    for name, work in contenders.items():
        memory[name] = peak_growth(work, device)
    return seconds, memory


def _ratio(seconds: Mapping[str, list[float]], other: str) -> float:
    return statistics.median(theirs / ours for ours, theirs in zip(seconds["engine"], seconds[other], strict=True))


def _ready_batches(maker: ChunkMaker, images: int, size: int, channels: int) -> list[tuple[Tensor, Tensor]]:
    batches = []
    for start in range(0, images, maker.batch):
        positions = np.arange(start, min(start + maker.batch, images))
        labels = torch.from_numpy(maker.dataset.labels[positions]).to(maker.device)
        batches.append((read_inputs(maker.dataset, positions, size, channels, maker.device), labels))
    return batches


def _engine(maker: ChunkMaker, images: int) -> None:
    maker.make(range(images), lambda _chunk: None, lambda _before, _after: None)


def _floor(model: Classifier, batches: list[tuple[Tensor, Tensor]], further: int) -> None:
    for images, labels in batches:
        input_gradient(model, images, labels)
        with torch.inference_mode():
            for _ in range(further):
                model(images)


def _usual(take: Callable[[Tensor, Tensor], object], batches: list[tuple[Tensor, Tensor]]) -> None:
    for images, labels in batches:
        take(images, labels)


def _timed(work: Work, device: str) -> float:
    _synchronize(device)
    started = time.perf_counter()
    work()
    _synchronize(device)
    return time.perf_counter() - started


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
