"""The bench: the engine against the floor, the least that any program must compute, alternating in one process.

And, where an attack library is installed, against the usual way of computing the same.

The usual way, for the bench to compare with: a library attacks, hooks store activations, statistics come after.

It computes what a run computes, PSI of every ReLU module under every condition, as a script of fifty lines would.

How much memory a piece of work takes at its height, above what was taken before it.

How the engine's speed scales: with images, layers, conditions, epsilons and workers, one at a time.
"""

import ctypes
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from psi_core.conditions import Condition
from psi_core.config import RunConfig
from psi_core.engine.attacks.gradients import input_gradient
from psi_core.engine.devices import current_device, describe_device, precision, usable_cores
from psi_core.engine.images import read_inputs
from psi_core.engine.models.sources import Classifier, input_channels
from psi_core.engine.preparation import Prepared, prepare
from psi_core.engine.work.chunk_maker import ChunkMaker, make_chunk_maker
from psi_core.errors import RunError
from psi_core.runs.events import EventReader, events_path
from psi_core.runs.processes import worker_environment

LIBRARIES = ("torchattacks", "foolbox")
"""Attack libraries that the bench knows; the first that is installed is taken."""

Attack = Callable[[Tensor, Tensor, float], Tensor]


def installed_library() -> str | None:
    """The attack library that the usual way would take here, or None."""
    return next((name for name in LIBRARIES if find_spec(name) is not None), None)


def usual_way(
    library: str, model: nn.Module, conditions: tuple[Condition, ...]
) -> Callable[[Tensor, Tensor], dict[str, list[Tensor]]]:
    """What takes a batch, images and labels, the usual way, and gives PSI (image,) of every layer and condition.

    Args:
        library: one of LIBRARIES.
        model: with pixels in 0..1.
        conditions: benign first; an attack counts as FGSM, a control as noise of its size.
    """
    attack = (_torchattacks if library == "torchattacks" else _foolbox)(model)
    layers: dict[str, nn.Module] = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.ReLU)
    }

    def take(images: Tensor, labels: Tensor) -> dict[str, list[Tensor]]:
        found: dict[str, list[Tensor]] = {name: [] for name in layers}
        for condition in conditions:
            if condition.is_benign:
                changed = images
            elif condition.is_control:
                changed = (images + condition.epsilon * torch.randn_like(images).sign()).clamp(0, 1)
            else:
                changed = attack(images, labels, condition.epsilon)
            for name, activation in _stored(model, layers, changed).items():
                found[name].append(_psi(activation))
        return found

    return take


def _stored(model: nn.Module, layers: dict[str, nn.Module], images: Tensor) -> dict[str, Tensor]:
    stored: dict[str, Tensor] = {}

    def store(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            stored[name] = output.detach().clone().cpu()  # The next layer may work in place.

        return hook

    handles = [module.register_forward_hook(store(name)) for name, module in layers.items()]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return stored


def _psi(activation: Tensor) -> Tensor:
    responses = activation.flatten(1)
    units = responses.shape[1]
    activity = responses.mean(1).square() / responses.square().mean(1)
    return (1 - activity) / (1 - 1 / units)


def _torchattacks(model: nn.Module) -> Attack:
    torchattacks = import_module("torchattacks")

    def attack(images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
        changed: Tensor = torchattacks.FGSM(model, eps=epsilon)(images, labels)
        return changed

    return attack


def _foolbox(model: nn.Module) -> Attack:
    foolbox = import_module("foolbox")
    device = next(model.parameters()).device
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device=device)

    def attack(images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
        changed: Tensor = foolbox.attacks.LinfFastGradientAttack()(bounded, images, labels, epsilons=epsilon)[1]
        return changed

    return attack


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


_IMAGES = (1, 2, 4)
"""Batches."""

_WORKER_SECONDS = 15
"""That each worker measures for, about."""

_EPSILONS = (1, 2, 4, 8)
_CONTROLS = ("sign-noise", "anti-fgsm", "sign-noise-2", "shuffled-fgsm")


def scaling(config: RunConfig) -> dict[str, Any]:
    """The machine, and one row for each point: what was varied, its value, images and images per second.

    Weights are random. Workers are real processes that share one run; on a CPU each has the threads that are left when
    the most of them share the cores, so that only their number differs.

    Args:
        config: what does not vary; its epsilon is the largest of a sweep.
    """
    base = prepare(config.model_copy(update={"weights": "random"}))
    resolved = base.config
    assert isinstance(resolved.batch, int) and isinstance(resolved.threads, int), "a prepared run is resolved"
    torch.set_num_threads(resolved.threads)
    rows: list[dict[str, Any]] = []
    for axis, value, images, varied in _points(resolved, base):
        seconds = _seconds(varied, images)
        rows.append({"axis": axis, "value": value, "images": images, "images_per_second": images / seconds})
    rows += _workers(resolved, rows[0]["images_per_second"], len(base.dataset))
    facts = {"model": resolved.model, "size": resolved.size, "batch": resolved.batch, "precision": resolved.precision}
    return {**facts, **describe_device(resolved.device), "rows": rows}


def _points(config: RunConfig, base: Prepared) -> Iterator[tuple[str, int, int, RunConfig]]:
    """What is varied, its value, how many images, and the run."""
    assert isinstance(config.batch, int), "a prepared run is resolved"
    some = 2 * config.batch
    for batches in _IMAGES:
        yield "images", batches * config.batch, batches * config.batch, config
    names = [layer.name for layer in base.layers]
    for count in sorted({1, max(1, len(names) // 2), len(names)}):
        yield "layers", count, some, config.model_copy(update={"layers": tuple(names[:count])})
    for count in range(0, len(_CONTROLS) + 1, 2):
        changes = {"controls": _CONTROLS[:count] or "none", "epsilon": config.epsilon[-1:]}
        yield "conditions", count + 2, some, RunConfig(**{**_asked(config), **changes})
    for count in _EPSILONS:
        epsilons = tuple(config.epsilon[-1] * (place + 1) / count for place in range(count))
        yield "epsilons", count, some, RunConfig(**{**_asked(config), "epsilon": epsilons, "controls": "none"})


def _asked(config: RunConfig) -> dict[str, Any]:
    """A resolved run's fields, for another run to be made of them."""
    return {name: value for name, value in config.model_dump().items() if name != "layers"}


def _seconds(config: RunConfig, images: int) -> float:
    """One chunk in this process, after a batch to warm up."""
    prepared = prepare(config)
    prepared.classifier.to(config.device)
    maker = make_chunk_maker(config, prepared, config.device)
    with precision(config.precision, config.device), current_device(config.device):
        for positions in (range(maker.batch), range(images)):
            started = time.perf_counter()
            maker.make(positions, lambda _chunk: None, lambda _before, _after: None)
            if config.device.startswith("cuda"):
                torch.cuda.synchronize(config.device)
    return time.perf_counter() - started


def _workers(config: RunConfig, speed: float, most_images: int) -> Iterator[dict[str, Any]]:
    """The sum of the workers' own speeds: they start one after the other, which a long run would not show.

    Args:
        config: resolved.
        speed: of one worker, in images per second, about.
        most_images: in the data set.
    """
    is_cuda = config.device.startswith("cuda")
    most = torch.cuda.device_count() if is_cuda else usable_cores()
    counts = sorted({1, 2, 4, 8, most} & set(range(1, most + 1)))
    assert isinstance(config.batch, int), "a prepared run is resolved"
    share = config.batch * max(2, round(_WORKER_SECONDS * speed / config.batch))
    threads = config.threads if is_cuda else max(1, usable_cores() // most)
    for workers in counts:
        images = min(share * workers, most_images)
        changes = {"devices": workers, "threads": threads, "images": images, "chunk": config.batch, "layers": "relu"}
        values = {**RunConfig(**{**_asked(config), **changes}).model_dump(mode="json"), "device": config.device}
        with tempfile.TemporaryDirectory(prefix="psi-bench-") as folder:
            found = _run_speed(values, workers, folder)
        yield {"axis": "workers", "value": workers, "images": images, "images_per_second": found}


def _run_speed(values: dict[str, Any], workers: int, folder: str) -> float:
    child = subprocess.run(
        [sys.executable, "-m", "psi_core", "start", "--runs-dir", folder],
        input=json.dumps(values),
        env={**os.environ, **worker_environment(workers)},
        text=True,
        capture_output=True,
        check=False,
    )
    answer = json.loads(child.stdout.partition("\n")[0] or "{}")
    if child.returncode:
        raise RunError(f"bench: a run of {workers} workers failed ({answer.get('error') or child.stderr[-200:]})")
    directory = Path(answer["run"])
    told = (EventReader(events_path(directory, worker)).poll() for worker in range(workers))
    return sum(
        next((float(event["images_per_second"]) for event in reversed(events) if event["event"] == "batch"), 0.0)
        for events in told
    )
