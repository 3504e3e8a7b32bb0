"""The catalog: which models there are, what layers they have, what this machine offers."""

from dataclasses import asdict
from functools import cache
from typing import Any

import torch

from psi_core.config import RunConfig
from psi_core.engine.architectures import ARCHITECTURES
from psi_core.engine.devices import describe_device, resolve_device, usable_cores
from psi_core.engine.layers import NetworkTrace, describe_layers, select_calls, trace_network
from psi_core.engine.models import build_classifier, input_channels, model_source, resolved_normalization
from psi_core.engine.timm_models import timm_names
from psi_core.errors import ModelError, unknown_name
from psi_core.paths import cache_directory, runs_directory


def model_rows(pattern: str = "") -> list[dict[str, Any]]:
    """Models by name: the bundled ones with all their figures, torchvision's and timm's with name and family alone.

    timm's are listed where it is installed.

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
    rows = [_bundled_row(name) for name in bundled]
    blank = {"size": None, "classes": None, "layers": None, "parameters": None, "multiply_adds": None}
    rows += [{"name": name, "family": family, **blank} for name, family in others.items() if pattern.lower() in name]
    if not rows:
        raise ModelError(unknown_name("models", pattern, [*ARCHITECTURES, *others]))
    return rows


def model_layer_rows(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Layers of a model in forward order, as `layers.json` holds them, with `default`: tapped unless told otherwise.

    Args:
        options: `model`, and as in a run `size`, `layers`, `rectify`, `unit`; `layers` of `all` gives every layer, also
            signed ones.
    """
    values = {
        key: options[key] for key in ("model", "size", "layers", "rectify", "unit", "normalize") if key in options
    }
    config = RunConfig(**{"layers": "relu", **values})
    trace = _trace(config)
    # Only listed here, so signed layers need no rectification yet.
    shown = select_calls(trace, config.layers, "abs", config.model)
    defaults = {call.path for call in trace.calls if call.is_relu and call.is_per_image}
    infos = describe_layers(shown, config.unit)
    return [{**asdict(info), "default": info.module in defaults} for info in infos]


def doctor_facts() -> dict[str, Any]:
    """Versions, devices and folders."""
    cuda = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    return {
        **describe_device(resolve_device("auto")),
        "cores": usable_cores(),
        "cuda_devices": cuda,
        "runs_directory": str(runs_directory()),
        "cache_directory": str(cache_directory()),
    }


def _trace(config: RunConfig) -> NetworkTrace:
    source = model_source(config.model)
    size = source.input_size(config.size)
    classifier = build_classifier(source, 10, resolved_normalization(source, config))
    return trace_network(classifier.network, input_channels(classifier.network), size)


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
