"""Models of Hugging Face: image classifiers of transformers with their own weights, from a folder or from the hub.

transformers is an extra, imported when one of its models is asked for. Weights are read from safetensors alone, and
code that comes with them is never run.
"""

import importlib
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from psi_core.engine.devices import patience
from psi_core.engine.models.complaints import COMPLAINTS
from psi_core.errors import ModelError, first_of
from psi_core.files import is_folder, typed_path

_EDGE = 512
"""Edge in pixels of what a processor is shown; larger than most inputs, so that no center is padded."""

_SAFE: dict[str, Any] = {"trust_remote_code": False}


@dataclass(frozen=True, slots=True)
class HuggingFaceModel:
    """What transformers says of a model.

    Attributes:
        build: makes it with its own weights; on the meta device without.
        size: input in pixels by its processor, else by its configuration; None where neither says it.
        mean: mean per channel that its processor takes off pixels in 0..1.
        sd: what it divides them by.
        class_names: what its outputs are called; empty where they have no names.
        notes: what was taken from where, one sentence each.
    """

    build: Callable[[], nn.Module]
    size: int | None
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Preprocessing:
    """What a processor does to an image: its size, the order of the network's channels, and scale and shift of each."""

    size: int | None
    order: tuple[int, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]


def hugging_face_model(place: str) -> HuggingFaceModel:
    """The image classifier in a folder, or of the hub: `owner/name`, or `owner/name@revision`.

    Raises:
        ModelError: transformers is not installed, or there is no image classifier that can be read without its code.
    """
    transformers, (where, options) = _transformers(), _located(place)
    with _quietly(f"model: hf:{place} cannot be read"):
        config = transformers.AutoConfig.from_pretrained(where, **options)
        kinds = transformers.AutoModelForImageClassification._model_mapping
    if type(config) not in kinds:
        raise ModelError(f"model: hf:{place} ({config.model_type}) is no image classifier; name one that is")
    channels = int(getattr(config, "num_channels", None) or 3)
    notes = []
    try:
        found = _preprocessing(transformers, where, options, channels)
    except COMPLAINTS as error:
        found = _Preprocessing(None, tuple(range(channels)), (0.0,), (1.0,))
        notes.append(
            f"model: the processor of hf:{place} cannot be asked ({_reason(error)}); "
            "pixels go in as they are, in 0..1, unless --normalize says otherwise"
        )
    size = found.size or _configured_size(config)
    is_reordered = found.order != tuple(range(channels))

    def build() -> nn.Module:
        with _quietly(f"model: hf:{place} cannot be loaded"):
            network: nn.Module = _network(transformers, where, options, config)
        network.config.return_dict = True  # type: ignore[union-attr]
        if is_reordered:
            network.register_forward_pre_hook(_Reordered(found.order))
        if size is not None:
            network.input_size = (channels, size, size)  # type: ignore[assignment]
        return network

    kind = getattr(config, "architectures", None) or [config.model_type]
    reordered = f", channels in the order {found.order}" if is_reordered else ""
    notes.append(f"model: hf:{place} is {kind[0]} of transformers{reordered}")
    if size is not None and found.size is not None:
        mean, sd = (",".join(f"{value:.4g}" for value in values) for values in (found.mean, found.sd))
        notes.append(f"model: its processor gives {size} x {size} pixels, normalized by mean {mean} and sd {sd}")
    return HuggingFaceModel(build, size, found.mean, found.sd, _class_names(config), tuple(notes))


def absolute_place(place: str) -> str:
    """The same with the path of a folder absolute; a name of the hub as it is."""
    folder = typed_path(place)
    return str(folder.absolute()) if place and is_folder(folder) else place


def _located(place: str) -> tuple[str, dict[str, Any]]:
    """What transformers takes: a folder, or a name and a revision."""
    if place and is_folder(typed_path(place)):
        return absolute_place(place), _SAFE
    name, _, revision = place.partition("@")
    if not name or name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise ModelError(f"model: there is no folder {place!r}; write hf:FOLDER, or hf:OWNER/NAME of the hub")
    return name, {**_SAFE, **({"revision": revision} if revision else {})}


def _network(transformers: ModuleType, where: str, options: dict[str, Any], config: Any) -> Any:
    loader = transformers.AutoModelForImageClassification
    if torch.get_default_device().type == "meta":
        return loader.from_config(config, trust_remote_code=False)
    with patience():
        network, told = loader.from_pretrained(
            where, **options, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    lacking = sorted(told["missing_keys"]) + sorted(key for key, *_ in told["mismatched_keys"])
    if lacking:
        raise ModelError(
            f"model: the weights in {where} lack {first_of(lacking)}; name a model that was trained to classify"
        )
    return network


class _Reordered:
    """Brings channels red, green, blue into the order that the network takes."""

    def __init__(self, order: tuple[int, ...]) -> None:
        self._order = list(order)

    def __call__(self, _module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return inputs[0][:, self._order], *inputs[1:]


def _preprocessing(transformers: ModuleType, where: str, options: dict[str, Any], channels: int) -> _Preprocessing:
    """What the processor does, seen on a black image and on one of each color.

    Its options are read nowhere else: they have other names and meanings in every family.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        processor = transformers.AutoImageProcessor.from_pretrained(where, **options)
        images = np.zeros((channels + 1, channels, _EDGE, _EDGE), np.uint8)
        images[range(1, channels + 1), range(channels)] = 255
        taken = processor(images=list(images), return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    if taken.dim() != 4 or taken.shape[:2] != (channels + 1, channels) or taken.shape[2] != taken.shape[3]:
        raise ValueError(f"it gives {tuple(taken.shape)} for {channels + 1} images")
    edge = int(taken.shape[2])
    colors = taken[:, :, edge // 2, edge // 2].double()
    scales = colors[1:] - colors[0]
    order = scales.abs().argmax(0)
    if (scales.abs() > 1e-6).sum(0).tolist() != [1] * channels or sorted(order.tolist()) != list(range(channels)):
        raise ValueError("it mixes colors")
    # Of the network's channel `at`: pixels are (pixel - mean) / sd.
    sd, mean = [0.0] * channels, [0.0] * channels
    for at, color in enumerate(order.tolist()):
        scale = float(scales[color, at])
        sd[color], mean[color] = 1 / scale, -float(colors[0, at]) / scale
    told = getattr(processor, "image_mean", None), getattr(processor, "image_std", None)
    is_resized = edge != _EDGE or bool(getattr(processor, "do_resize", True))
    size = edge if is_resized else None
    return _Preprocessing(size, tuple(order.tolist()), _as_written(mean, told[0]), _as_written(sd, told[1]))


def _as_written(values: list[float], told: Any) -> tuple[float, ...]:
    """Numbers as the processor's file writes them, where they are those within rounding; else with six digits."""
    if isinstance(told, list | tuple) and np.shape(told) == np.shape(values) and np.allclose(values, told, 1e-5, 1e-6):
        return tuple(map(float, told))
    return tuple(float(f"{value:.6g}") + 0.0 for value in values)


def _configured_size(config: Any) -> int | None:
    size = getattr(config, "image_size", None)
    edges = set(size) if isinstance(size, list | tuple) else {size}
    edge = edges.pop() if len(edges) == 1 else None
    return edge if isinstance(edge, int) else None


def _class_names(config: Any) -> tuple[str, ...]:
    names = [str(name) for _, name in sorted((getattr(config, "id2label", None) or {}).items())]
    has_names = len(set(names)) == len(names) and not all(name.startswith("LABEL_") for name in names)
    return tuple(names) if has_names else ()


@contextmanager
def _quietly(what: str) -> Iterator[None]:
    """Refuses what code of transformers complains of, in one sentence, and keeps its warnings to itself."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except COMPLAINTS as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"{what} ({_reason(error)}); name a folder or a repository with config.json and model.safetensors"
        ) from None


def _reason(error: BaseException) -> str:
    return textwrap.shorten(str(error).strip() or type(error).__name__, 160)


def _transformers() -> ModuleType:
    try:
        found = importlib.import_module("transformers")
    except ImportError as error:
        reason = "is not installed" if error.name == "transformers" else f"cannot be imported ({error})"
        raise ModelError(f"model: transformers {reason}; pip install 'psi-tui[hf]', or name another model") from None
    found.utils.logging.set_verbosity_error()
    found.utils.logging.disable_progress_bar()
    return found
