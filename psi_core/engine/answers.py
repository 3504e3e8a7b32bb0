"""What the engine is asked beside its work: models, their layers, the cost of a run, pictures, and what is installed.

`psi_core.serve` lists by which names these are asked for.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch

from psi_core.config import RunConfig
from psi_core.engine.again.pictures import PictureMaker
from psi_core.engine.attacks.perturbations import forwards_per_image
from psi_core.engine.devices import describe_device, device_note, resolve_device, usable_cores, why_no_gpu
from psi_core.engine.memory import available_memory, total_memory
from psi_core.engine.models.checkpoints import find_checkpoint
from psi_core.engine.models.dry_forward import dry_forward
from psi_core.engine.models.fitting import has_fast_bf16
from psi_core.engine.models.layers import NetworkTrace, completeness_of, describe_layers, select_calls
from psi_core.engine.models.robustbench import robustbench_names
from psi_core.engine.models.sources import (
    ARCHITECTURES,
    build_classifier,
    model_source,
    resolved_normalization,
)
from psi_core.engine.models.timm import timm_names
from psi_core.engine.preparation import Prepared, prepare
from psi_core.engine.work.chunk_maker import make_chunk_maker
from psi_core.errors import DataError, ModelError, PsiError, unknown_name
from psi_core.files import cache_directory, runs_directory
from psi_core.pictures import keep_picture, picture_answer, require_image
from psi_core.runs.chunks import chunk_count
from psi_core.runs.creation import require_writable
from psi_core.runs.finding import list_runs
from psi_core.runs.run import Run
from psi_core.runs.status import StatusReader


def model_rows(pattern: str = "") -> list[dict[str, Any]]:
    """Models by name: the bundled ones with all their figures, those of zoos with name and family alone.

    timm's and RobustBench's are listed where these are installed; Hugging Face has no list.

    Args:
        pattern: part of the name; all by default.

    Raises:
        ModelError: no name holds the pattern.
    """
    import torchvision  # Not at the top: it takes as long to load as torch does.

    bundled = [name for name in ARCHITECTURES if pattern.lower() in name]
    others = {
        f"torchvision:{name}": _family(name) for name in torchvision.models.list_models(module=torchvision.models)
    }
    others |= {f"timm:{name}": "timm" for name in timm_names()}
    others |= {f"robustbench:{name}": "robustbench" for name in robustbench_names()}
    rows = [_bundled_row(name) for name in bundled]
    blank = {"size": None, "classes": None, "layers": None, "parameters": None, "multiply_adds": None}
    rows += [
        {"name": name, "family": family, **blank} for name, family in others.items() if pattern.lower() in name.lower()
    ]
    if not rows:
        raise ModelError(unknown_name("models", pattern, [*ARCHITECTURES, *others]))
    return rows


def layer_rows(
    model: str,
    size: int | str | None = None,
    layers: str | Sequence[str] = "relu",
    unit: str = "neuron",
    rectify: str = "none",
) -> list[dict[str, Any]]:
    """Layers of a model in forward order, as `layers.json` holds them, with `default`: whether it is tapped by default,
    and `is_axis_known`: whether its channel axis is told by the network, or only taken to be 1.

    Where not all activations are among them, `completeness` says which a run of these layers leaves out.

    The arguments are those of a run; `layers` of `all` gives every layer, also signed ones.
    """
    values: dict[str, Any] = {"model": model, "size": size, "layers": layers, "unit": unit, "rectify": rectify}
    config = RunConfig(**values)
    trace = _trace(config)
    # Only listed here, so signed layers need no rectification yet.
    shown = select_calls(trace, config.layers, "abs", config.model)
    defaults = {call.path for call in trace.calls if call.is_relu and call.is_per_image}
    infos = describe_layers(shown, config.unit)
    completeness = completeness_of(trace, [call for call in trace.calls if call.path in defaults])
    said = {"completeness": str(completeness)} if completeness.left_out else {}
    return [
        {**asdict(info), "default": info.module in defaults, "is_axis_known": call.is_axis_known, **said}
        for info, call in zip(infos, shown, strict=True)
    ]


def doctor_facts() -> dict[str, Any]:
    """Versions, devices and folders."""
    cuda = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    trouble = why_no_gpu()
    return {
        **describe_device(resolve_device("auto")),
        "cores": usable_cores(),
        "memory": f"{available_memory() / 1e9:.1f} of {total_memory() / 1e9:.1f} GB free",
        "cuda_devices": cuda,
        **({"cuda_trouble": trouble} if trouble is not None else {}),
        "runs_directory": str(runs_directory()),
        "cache_directory": str(cache_directory()),
    }


def _trace(config: RunConfig) -> NetworkTrace:
    source = model_source(config.model)
    size = source.input_size(config.size)
    classifier = build_classifier(source, 10, resolved_normalization(source, config))
    return dry_forward(classifier, source, size)


def _family(name: str) -> str:
    """The module of torchvision that builds a model: `resnet` for ResNets, ResNeXts and wide ResNets."""
    import torchvision

    return str(torchvision.models.get_model_builder(name).__module__).rpartition(".")[2]


@cache
def _bundled_row(name: str) -> dict[str, Any]:
    trace = _trace(RunConfig(model=name))
    last = trace.calls[-1]
    figures = {"parameters": last.parameters, "multiply_adds": trace.multiply_adds}
    relus = sum(call.is_relu and call.is_per_image for call in trace.calls)
    size = ARCHITECTURES[name].size
    return {"name": name, "family": "bundled", "size": size, "classes": trace.classes, "layers": relus, **figures}


def plan_of(prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Images, conditions, layers, disk, and the time that the last run of that model, size and device suggests.

    Args:
        prepared: the run.
        folder: folder of the earlier runs.
    """
    config, completeness = prepared.config, completeness_of(prepared.trace, prepared.calls)
    return {
        "images": config.images,
        "conditions": [condition.name for condition in config.conditions],
        "layers": [layer.name for layer in prepared.layers],
        "units": sum(layer.units for layer in prepared.layers),
        "chunks": chunk_count(config.images, config.chunk),
        "batch": config.batch,
        "device": config.device,
        "devices": config.devices,
        "disk_bytes": prepared.disk_bytes(),
        "seconds": _expected_seconds(prepared, folder),
        "fit_needed": prepared.needs_fit,
        "completeness": str(completeness) if completeness.left_out else "",
    }


def _expected_seconds(prepared: Prepared, folder: Path) -> float | None:
    """The time by the speed of the newest run of this model, size, device and precision; None without such a run."""
    config = prepared.config
    wanted = (config.model, config.size, config.device.kind, config.precision)
    for run in list_runs(folder, examples=False):
        known = run.config
        if (known.model, known.size, known.device.kind, known.precision) != wanted:
            continue
        speed = _images_per_second(run)
        if speed > 0:
            ratio = forwards_per_image(config) / forwards_per_image(known)
            devices = config.devices / known.devices if config.device.is_cuda else 1  # Workers on a CPU share it.
            return float(config.images * ratio / (speed * devices))
    return None


def _images_per_second(run: Run) -> float:
    try:
        workers = StatusReader(run.directory).poll()
    except (PsiError, OSError, json.JSONDecodeError):
        return 0.0
    return sum(worker.progress.images_per_second for worker in workers if worker.progress and worker.phase == "run")


_BF16_PAYS = 100_000_000
"""Multiply-adds of an image from which on bf16 is faster on a processor made for it; LeNet-5 has 0.4 million."""

_LOOKED_AT = 4
"""Images whose gradients are compared at both precisions, which takes AlexNet a second."""


def faster_at(prepared: Prepared) -> str:
    """What bf16 would bring on a processor that is made for it, and cost in signs of the gradient; empty where nothing.

    On two cores with AVX512-BF16 VGG11 and ResNet-18 were 1.3 to 1.9 times as fast, most in large batches.
    """
    config = prepared.config
    is_light = prepared.trace.multiply_adds < _BF16_PAYS
    if config.device.is_cuda or config.precision != "exact" or is_light or not has_fast_bf16(config.device):
        return ""
    if config.weights == "fitted":
        checkpoint = find_checkpoint(prepared.recipe)
        if checkpoint is None:
            return ""
        prepared = prepared.with_checkpoint(checkpoint)
    try:
        share = make_chunk_maker(config, prepared, config.device).sign_agreement(
            "bf16", prepared.positions[:_LOOKED_AT]
        )
    except DataError:  # An image that cannot be read is reported by the run.
        return ""
    if math.isnan(share):
        return ""
    return f"--precision bf16, up to 1.9 times as fast here; it turns {100 * (1 - share):.1f} % of the gradient's signs"


def plan(config: Mapping[str, Any], runs_dir: str | None = None, offers: bool = False) -> dict[str, Any]:
    """What a run of this configuration would do and cost; everything that `start` would refuse is refused.

    Args:
        config: fields of RunConfig.
        runs_dir: folder of the runs.
        offers: whether to look for a faster way too, as `faster`; it may take a second.

    Raises:
        ConfigError, ModelError, DataError: it cannot stand.
    """
    asked = RunConfig(**config)
    prepared = prepare(asked)
    folder = runs_directory(runs_dir)
    require_writable(folder, prepared.disk_bytes())
    note = device_note(asked.device, prepared.config.device)
    return plan_of(prepared, folder) | {"device_note": note} | ({"faster": faster_at(prepared)} if offers else {})


_PICTURES = PictureMaker()
"""Keeps the model of the last run that it was asked for."""


def picture(run: str, index: int, condition: str, width: int, height: int) -> dict[str, Any]:
    """One image, benign and attacked, as `picture_answer` gives it; kept where nothing of it is missing."""
    found = Run(Path(run))
    made = _PICTURES.make(found, index, require_image(found, index, condition, width, height))
    if not made.reason:
        keep_picture(found, index, condition, made)
    return picture_answer(found, index, condition, made, (width, height))
