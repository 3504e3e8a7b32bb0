"""The engine's speed over images, layers, conditions, epsilons and workers, one varied at a time."""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from psi_core.config import ResolvedConfig, RunConfig
from psi_core.engine.bench.comparison import refuse_smaller
from psi_core.engine.devices import current_device, describe_device, usable_cores, usable_gpus
from psi_core.engine.precision import precision
from psi_core.engine.preparation import Prepared, prepare
from psi_core.engine.work.chunk_maker import make_chunk_maker
from psi_core.errors import RunError
from psi_core.runs.event_log import EventReader, events_path
from psi_core.runs.events import BatchDone
from psi_core.runs.processes import python_command

_BATCHES = (1, 2, 4)
_EPSILONS = (1, 2, 4, 8)
_CONTROLS = ("sign-noise", "anti-fgsm", "sign-noise-2", "shuffled-fgsm")
_WORKERS = (1, 2, 4, 8)

_WORKER_SECONDS = 15
"""How long each worker measures, about."""


def scaling(config: RunConfig) -> dict[str, Any]:
    """The machine's facts, and a row for each point: the axis, its value, images, and images per second.

    Weights are random. Workers are processes that share one run. On a CPU all counts of workers have the same threads
    each, as many as the largest count has cores for, so that only the count differs.

    Args:
        config: what does not vary; its epsilon is the largest of every sweep.
    """
    base = prepare(config.model_copy(update={"weights": "random"}))
    resolved = base.config
    torch.set_num_threads(resolved.threads)
    rows: list[dict[str, Any]] = []
    for axis, value, images, varied in _points(resolved, base):
        seconds = _seconds(varied, images)
        rows.append({"axis": axis, "value": value, "images": images, "images_per_second": images / seconds})
    rows += _workers(resolved, rows[0]["images_per_second"], len(base.dataset))
    facts = {"model": resolved.model, "size": resolved.size, "batch": resolved.batch, "precision": resolved.precision}
    return {**facts, **describe_device(resolved.device), "rows": rows}


def _points(config: ResolvedConfig, base: Prepared) -> Iterator[tuple[str, int, int, RunConfig]]:
    """Axis, value, number of images and configuration of every point in one process."""
    some = 2 * config.batch
    for batches in _BATCHES:
        yield "images", batches * config.batch, batches * config.batch, config.asked()
    names = [layer.name for layer in base.layers]
    for count in sorted({1, max(1, len(names) // 2), len(names)}):
        yield "layers", count, some, config.asked(layers=names[:count])
    for count in range(0, len(_CONTROLS) + 1, 2):
        controls = _CONTROLS[:count] or "none"
        yield "conditions", count + 2, some, config.asked(layers="relu", controls=controls, epsilon=config.epsilon[-1:])
    for count in _EPSILONS:
        epsilons = tuple(config.epsilon[-1] * (place + 1) / count for place in range(count))
        yield "epsilons", count, some, config.asked(layers="relu", controls="none", epsilon=epsilons)


def _seconds(config: RunConfig, images: int) -> float:
    """Seconds that one chunk takes in this process, after a batch to warm up."""
    prepared = prepare(config)
    resolved = prepared.config
    prepared.classifier.move_to(resolved.device)
    maker = make_chunk_maker(resolved, prepared, resolved.device)
    with precision(resolved.precision, resolved.device), current_device(resolved.device):
        try:
            for positions in (np.arange(maker.batch), np.arange(images)):
                started = time.perf_counter()
                maker.make(positions, lambda _chunk: None, refuse_smaller)
                if resolved.device.is_cuda:
                    torch.cuda.synchronize(resolved.device)
            return time.perf_counter() - started
        finally:
            maker.leave()


def _workers(config: ResolvedConfig, speed: float, most_images: int) -> Iterator[dict[str, Any]]:
    """A row for each number of workers. Its speed is the sum of the workers' own: they do not start at the same time.

    Args:
        config: what does not vary.
        speed: approximate speed of one worker in images per second; decides how many images each measures.
        most_images: size of the data set.
    """
    is_cuda = config.device.is_cuda
    most = len(usable_gpus()) if is_cuda else usable_cores()
    counts = sorted({*_WORKERS, most} & set(range(1, most + 1)))
    share = config.batch * max(2, round(_WORKER_SECONDS * speed / config.batch))
    threads = config.threads if is_cuda else max(1, usable_cores() // most)
    for workers in counts:
        images = min(share * workers, most_images)
        options = {"images": images, "order": "first", "chunk": config.batch, "layers": "relu"}
        asked = config.asked(devices=workers, threads=threads, **options)
        with tempfile.TemporaryDirectory(prefix="psi-bench-") as folder:
            speeds = _worker_speeds(asked, workers, folder)
        yield {"axis": "workers", "value": workers, "images": images, "images_per_second": sum(speeds)}


def _worker_speeds(config: RunConfig, workers: int, folder: str) -> list[float]:
    """Images per second of each worker of a run, from its last `batch` event."""
    child = subprocess.run(
        python_command("psi_core", "answer"),
        input=json.dumps({"id": 1, "do": "start", "config": config.model_dump(mode="json"), "runs_dir": folder}),
        text=True,
        capture_output=True,
        check=False,
    )
    reply = json.loads(child.stdout or "{}")
    if child.returncode:
        raise RunError(f"bench: a run of {workers} workers failed ({reply.get('error') or child.stderr[-200:]})")
    speeds = []
    for worker in range(workers):
        events = EventReader(events_path(Path(reply["answer"]["run"]), worker)).poll()
        batches = (event.images_per_second for event in reversed(events) if isinstance(event, BatchDone))
        speeds.append(next(batches, 0.0))
    return speeds
