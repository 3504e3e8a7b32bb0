"""Weights: from a file, torchvision, a seed or the factory into a classifier, never by running what a file holds."""

import hashlib
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from psi_core.engine.downloads import patience
from psi_core.engine.models import ModelSource
from psi_core.engine.state_dicts import StateDict, state_dict_of
from psi_core.engine.timm_models import timm_weights
from psi_core.errors import ModelError

_DAMAGE = (
    *(RuntimeError, ValueError, OSError, EOFError, LookupError, TypeError, AttributeError, AssertionError),
    *(ArithmeticError, ImportError, MemoryError, struct.error, zipfile.BadZipFile),
)
"""What unpickling a damaged file raises; Python's documentation names no end to them."""


def read_weights(path: Path, network: nn.Module | None = None) -> tuple[StateDict, list[str]]:
    """The float32 tensors of a `.safetensors`, `.pt` or `.pth` file, and what was done to them, one sentence each.

    Args:
        path: of the file.
        network: that they are for, also on the meta device: its names tell which prefixes are the file's own.

    Raises:
        ModelError: the file is missing, damaged, holds code, or no tensors by name.
    """
    if not path.is_file():
        raise ModelError(
            f"weights: there is no file {path}; write fitted, random, imagenet, built, "
            "or the path of a .safetensors, .pt or .pth file"
        )
    values = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    own = network.state_dict().keys() if network is not None else ()
    return state_dict_of(values, own, path.name)


def apply_weights(network: nn.Module, state: StateDict, where: str) -> None:
    """Copies tensors into a network of the same architecture, in the network's own precision.

    Raises:
        ModelError: it is another architecture; names the first tensor that differs, and both shapes.
    """
    own = network.state_dict()
    for name, tensor in own.items():
        if name not in state and name.endswith("num_batches_tracked"):
            continue  # Files from before torch 0.4.1 lack this count of batches, which torch fills in.
        if name not in state:
            raise ModelError(f"weights: {where} lacks {name} {tuple(tensor.shape)}; it is of another architecture")
        if state[name].shape != tensor.shape:
            raise ModelError(
                f"weights: {where} has {name} {tuple(state[name].shape)}, the model {tuple(tensor.shape)}; "
                "name the model and the classes that it was made for"
            )
        if state[name].is_floating_point() and not torch.isfinite(state[name]).all():
            raise ModelError(f"weights: {name} in {where} holds NaN or infinity; use another checkpoint")
    for name, tensor in state.items():
        if name not in own:
            shape = tuple(tensor.shape)
            raise ModelError(f"weights: {where} has {name} {shape}, which the model lacks; name its model")
    # Not load_state_dict: MNASNet refuses a state dict whose version is lost, as it is in safetensors.
    with torch.no_grad():
        for name, tensor in own.items():
            if name in state:
                tensor.copy_(state[name])


def classes_in(state: StateDict, network: nn.Module) -> int | None:
    """Classes of a state dict's head, going by the network's last weight matrix; None if it has none."""
    matrices = [name for name, tensor in network.state_dict().items() if tensor.dim() >= 2]
    head = state.get(matrices[-1]) if matrices else None
    return int(head.shape[0]) if head is not None else None


def imagenet_file(source: ModelSource) -> Path:
    """The published weights of a model of torchvision's or timm's, from their cache, or downloaded into it.

    Raises:
        ModelError: there are none, or they are not in the cache and cannot be downloaded.
    """
    if source.imagenet is None:
        raise ModelError(
            f"weights: no ImageNet weights are published for {source.name}; write fitted, random or a file"
        )
    if source.imagenet.startswith("timm:"):
        place = timm_weights(source.imagenet.removeprefix("timm:"))
        return place if isinstance(place, Path) else _downloaded(place, source.name)
    import torchvision  # Not at the top: it takes as long to load as torch does.

    return _downloaded(torchvision.models.get_model_weights(source.imagenet).DEFAULT.url, source.name)


def _downloaded(url: str, model: str) -> Path:
    """The file of a URL in torch's cache, downloaded unless it is there."""
    folder = Path(str(torch.hub.get_dir())) / "checkpoints"
    path = folder / url.rpartition("/")[2]
    if not path.is_file():
        _, dash, digest = path.stem.rpartition("-")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with patience():
                torch.hub.download_url_to_file(url, str(path), hash_prefix=digest if dash else None, progress=False)
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"weights: ImageNet weights of {model} are not at {path} and cannot be downloaded ({error}); "
                f"put the file {url} there, or anywhere and name it with --weights"
            ) from None
    return path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_sha256(network: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of a network's tensors, for weights that came from no file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"weights: {path} is no whole safetensors file ({error}); copy it again") from None


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # About pickles that torch.save did not write.
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"weights: {path} is damaged or holds code besides tensors, which is never run; "
            "save a state dict with torch.save(model.state_dict(), path)"
        ) from None
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"weights: {path} is no whole PyTorch file ({reason}); copy it again") from None
