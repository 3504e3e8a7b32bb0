"""Parts that measure: speed and memory beside the floor, kernels of a step, and where the host waits for the device."""

import collections
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from psi_core.config import ResolvedConfig
from psi_core.engine.bench.comparison import bench_row, refuse_smaller
from psi_core.engine.devices import current_device
from psi_core.engine.precision import precision
from psi_core.engine.preparation import prepare
from psi_core.engine.selftest.part import Finding, Trial, finding, listed
from psi_core.engine.work.chunk_maker import ChunkMaker, make_chunk_maker

_ROUNDS = 3

_SHOWN = (
    *("batch", "chunk", "engine_images_per_second", "floor_images_per_second", "ratio"),
    *("engine_memory", "floor_memory", "memory_ratio"),
)

_MAY_WAIT = ("open_chunk.py", "controls.py", "recorded_step.py")
"""Files in which the host waits for the device: a chunk's sums at its end, the search for a Gaussian's scale, and the
comparison of what was recorded."""

_WARM_UP = 6
"""Batches after which a step that records itself has done so."""

_TOP_KERNELS = 15


def floor(trial: Trial) -> Finding:
    """Speed and memory of the engine beside the floor, the least that any program must compute."""
    figures = {}
    for model in trial.models:
        for policy in trial.policies:
            with torch.random.fork_rng(devices=[]):
                figures[f"{model} {policy}"] = _timed(trial, model=model, precision=policy)
    return Finding("measured", _ratios(figures), figures)


def epsilons(trial: Trial) -> Finding:
    """The same with eight epsilons, which share one gradient."""
    many = ",".join(f"{each:g}" for each in (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3))
    policy = "tf32" if trial.device.is_cuda else "exact"
    row = _timed(trial, model=trial.models[0], precision=policy, controls="none", epsilon=many)
    figures = {f"{trial.models[0]} {policy}": row}
    return Finding("measured", _ratios(figures), figures)


def compiled(trial: Trial) -> Finding:
    """The compiled step beside the floor, which stays as it is."""
    if not trial.device.is_cuda:
        return Finding("left out", "compiling takes a CPU minutes")
    figures = {}
    for model, policy in (("alexnet", "exact"), ("alexnet", "tf32"), ("alexnet", "bf16")):
        figures[f"{model} {policy}"] = _timed(trial, model=model, precision=policy, compile=True)
    return Finding("measured", _ratios(figures), figures)


def _timed(trial: Trial, **options: Any) -> dict[str, Any]:
    row = bench_row(_whole(trial, **options), _ROUNDS, with_usual=False)
    return {key: row[key] for key in _SHOWN if key in row}


def _whole(trial: Trial, **options: Any) -> Any:
    """A run in its usual batches and chunks."""
    return trial.config(**{"images": None, "chunk": "auto", "batch": "auto", "epsilon": "0.03", **options})


def _ratios(figures: dict[str, Any]) -> str:
    return "of the floor's speed: " + listed([f"{name} {each['ratio']:.3f}" for name, each in figures.items()])


def kernels(trial: Trial) -> Finding:
    """Kernels of one step: their number and time, and how long the host takes to queue them."""
    if not trial.device.is_cuda:
        return Finding("left out", "a CPU has no kernels to queue")
    from torch.profiler import ProfilerActivity, profile

    figures = {}
    for model in (trial.models[0], trial.models[-1]):
        for policy in trial.policies:
            with _ready(trial, model=model, precision=policy) as (config, maker):
                inputs = maker.first_images(np.arange(config.batch))
                assert inputs is not None, "the digits are bundled"
                for _ in range(_WARM_UP):
                    maker.step(*inputs)
                torch.cuda.synchronize()
                began = time.perf_counter()
                maker.step(*inputs)
                queued = time.perf_counter() - began
                torch.cuda.synchronize()
                whole = time.perf_counter() - began
                with profile(activities=[ProfilerActivity.CUDA]) as told:
                    maker.step(*inputs)
                    torch.cuda.synchronize()
            rows = sorted(told.key_averages(), key=lambda row: row.self_device_time_total, reverse=True)
            figures[f"{model} {policy}"] = {
                "batch": config.batch,
                "kernels": sum(row.count for row in rows),
                "busy_ms": sum(row.self_device_time_total for row in rows) / 1e3,
                "queued_ms": queued * 1e3,
                "step_ms": whole * 1e3,
                "is_recorded": maker.step.held_bytes > 0,
                "longest": [(row.key[:80], row.count, row.self_device_time_total / 1e3) for row in rows[:_TOP_KERNELS]],
            }
    counts = [f"{name} {each['kernels']}" for name, each in figures.items()]
    return Finding("measured", f"kernels a step: {listed(counts)}", figures)


def waiting(trial: Trial) -> Finding:
    """Where the host waits for the device in a chunk of three batches: at its end, and nowhere in a step."""
    if not trial.device.is_cuda:
        return Finding("left out", "a CPU waits for nobody")
    places: collections.Counter[str] = collections.Counter()

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        if "synchroniz" in str(message):
            places[_place(traceback.extract_stack())] += 1

    with _ready(trial, model=trial.models[0], batch=64) as (config, maker), warnings.catch_warnings():
        _make(maker, 3 * config.batch)
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            _make(maker, 3 * config.batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    odd = [place for place in places if not place.startswith(_MAY_WAIT)]
    words = f"the host waits {sum(places.values())} times in a chunk of three batches, never in a step"
    return finding(not odd, words, f"the host waits for the device in {listed(odd)}", dict(places))


def _place(stack: traceback.StackSummary) -> str:
    """File and line of the package that was under way, this page left out."""
    frames = [frame for frame in stack if "psi_core" in frame.filename and frame.filename != __file__]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "elsewhere"


@contextmanager
def _ready(trial: Trial, **options: Any) -> Iterator[tuple[ResolvedConfig, ChunkMaker]]:
    """A resolved run and what makes its chunks, at its precision."""
    prepared = prepare(_whole(trial, **options))
    prepared.classifier.move_to(trial.device)
    with current_device(trial.device), precision(prepared.config.precision, trial.device):
        maker = make_chunk_maker(prepared.config, prepared, trial.device)
        try:
            yield prepared.config, maker
        finally:
            maker.leave()


def _make(maker: ChunkMaker, images: int) -> None:
    maker.make(np.arange(images), lambda _chunk: None, refuse_smaller)
