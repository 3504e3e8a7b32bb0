"""Models of timm: how each is built, what it takes, where its pretrained weights are.

timm is an extra, imported when one of its models is asked for.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from psi_core.errors import ModelError, unknown_name


@dataclass(frozen=True, slots=True)
class TimmModel:
    """What timm says of a model.

    Attributes:
        build: makes it with that many classes, random weights.
        size: input in pixels that it was made for.
        smallest: least input in pixels, as far as timm knows.
        largest: greatest input in pixels, or None for any.
        mean: mean of the pixels that its pretrained weights expect, per channel.
        sd: their standard deviation.
        has_weights: whether pretrained weights are published.
    """

    build: Callable[[int], nn.Module]
    size: int
    smallest: int
    largest: int | None
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    has_weights: bool


def timm_names() -> list[str]:
    """Every architecture of timm; empty where it is not installed."""
    if importlib.util.find_spec("timm") is None:
        return []
    names: list[str] = _timm().list_models()
    return names


def timm_model(name: str) -> TimmModel:
    """The model of an architecture, `resnet10t`, or of one of its pretrained weights, `resnet10t.c3_in1k`.

    Raises:
        ModelError: timm is not installed, or has no such model.
    """
    timm = _timm()
    facts = _facts(name)
    size = int(facts.input_size[-1])

    def build(classes: int) -> nn.Module:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes)
        # TResNet's first convolution takes 48 channels, made from the 3 of the image.
        network.input_size = tuple(facts.input_size)  # type: ignore[assignment]
        return network

    is_fixed = bool(facts.fixed_input_size)
    least = int(facts.min_input_size[-1]) if facts.min_input_size else 1
    return TimmModel(
        build=build,
        size=size,
        smallest=size if is_fixed else least,
        largest=size if is_fixed else None,
        mean=tuple(map(float, facts.mean)),
        sd=tuple(map(float, facts.std)),
        has_weights=bool(facts.hf_hub_id or facts.url),
    )


def timm_weights(name: str) -> Path | str:
    """The file of pretrained weights in the Hugging Face cache, downloaded if missing; a URL where they lie elsewhere.

    Raises:
        ModelError: they cannot be downloaded.
    """
    facts = _facts(name)
    if not facts.hf_hub_id:
        return str(facts.url)
    from huggingface_hub import hf_hub_download

    repository, _, revision = facts.hf_hub_id.partition("@")
    file = facts.hf_hub_filename or "model.safetensors"
    try:
        return Path(hf_hub_download(repository, file, revision=revision or None))
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"weights: pretrained weights of timm:{name} are not cached and cannot be downloaded ({reason}); "
            f"put {file} of https://huggingface.co/{repository} anywhere and name it with --weights"
        ) from None


def _facts(name: str) -> Any:
    """timm's PretrainedCfg."""
    timm = _timm()
    architectures = timm.list_models()
    if name not in architectures:
        tagged = timm.list_pretrained()
        if name not in tagged:
            known = [f"timm:{model}" for model in (*architectures, *tagged)]
            raise ModelError(unknown_name("model", f"timm:{name}", known))
    return timm.get_pretrained_cfg(name)


def _timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        reason = "is not installed" if error.name == "timm" else f"cannot be imported ({error})"
        raise ModelError(f"model: timm {reason}; pip install 'psi-tui[timm]', or name another model") from None
