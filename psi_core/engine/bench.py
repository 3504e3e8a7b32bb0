"""The bench: the engine against the floor, the least that any program must compute, alternating in one process."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from psi_core.config import RunConfig
from psi_core.engine.chunk_maker import ChunkMaker, make_chunk_maker
from psi_core.engine.datasets import read_inputs
from psi_core.engine.devices import describe_device, peak_memory, precision
from psi_core.engine.gradients import input_gradient
from psi_core.engine.models import Classifier, input_channels
from psi_core.engine.preparation import prepare


def bench_row(config: RunConfig, rounds: int = 5) -> dict[str, Any]:
    """Images per second of the engine and of the floor, and their ratio.

    The floor: the same model, batch, precision and memory format; one forward with gradient, the input gradient, one
    inference forward per further condition; images ready as floats, nothing measured, nothing kept.

    Args:
        config: the run to imitate; its images are one chunk of two batches.
        rounds: how often each is timed, after one of each to warm up; medians are reported.
    """
    prepared = prepare(config.model_copy(update={"weights": "random"}))
    resolved = prepared.config
    assert isinstance(resolved.batch, int) and resolved.size is not None, "a prepared run's configuration is resolved"
    assert isinstance(resolved.threads, int), "a prepared run's configuration is resolved"
    device, images = resolved.device, min(2 * resolved.batch, len(prepared.dataset))
    torch.set_num_threads(resolved.threads)
    prepared.classifier.to(device)
    maker = make_chunk_maker(resolved, prepared, device)
    batches = _ready_batches(maker, images, resolved.size, input_channels(prepared.classifier.network))
    contenders: dict[str, Callable[[], None]] = {
        "engine": lambda: _engine(maker, images),
        "floor": lambda: _floor(prepared.classifier, batches, len(resolved.conditions) - 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    with precision(resolved.precision, device):
        for round_number in range(rounds + 1):
            for name, run in contenders.items():
                taken = _timed(run, _waiting(device))
                if round_number:
                    seconds[name].append(taken)
    speeds = {name: images / statistics.median(taken) for name, taken in seconds.items()}
    pairs = [floor / engine for engine, floor in zip(seconds["engine"], seconds["floor"], strict=True)]
    return {
        "model": resolved.model,
        "size": resolved.size,
        "batch": resolved.batch,
        "precision": resolved.precision,
        "conditions": len(resolved.conditions),
        "images": images,
        "engine_images_per_second": speeds["engine"],
        "floor_images_per_second": speeds["floor"],
        "ratio": statistics.median(pairs),
        "peak_memory": peak_memory(device),
        **describe_device(device),
    }


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


def _timed(run: Callable[[], None], synchronize: Callable[[], None]) -> float:
    synchronize()
    started = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - started


def _waiting(device: str) -> Callable[[], None]:
    return (lambda: torch.cuda.synchronize(device)) if device.startswith("cuda") else (lambda: None)
