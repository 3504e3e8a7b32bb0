"""Weights: read from a file, copied into a network, known by their SHA-256."""

import hashlib
from pathlib import Path

import torch
from torch import nn

from psi_core.engine.devices import patience
from psi_core.engine.models.sources import ModelSource
from psi_core.engine.models.state_dicts import MeanSd, StateDict, fitting_state, is_normalization, tensors_of
from psi_core.engine.models.timm import timm_weights
from psi_core.engine.models.weight_files import read_values
from psi_core.errors import ModelError


def read_weights(path: Path, network: nn.Module, expected: MeanSd | None = None) -> tuple[StateDict, list[str]]:
    """The float32 tensors of a file that fit a network, and what was done to them, one sentence each.

    Args:
        path: path of the file.
        network: network that takes them, also on the meta device.
        expected: mean and sd by which pixels will be normalized, or None where the user chose them.

    Raises:
        ModelError: the file is missing, damaged, of another kind, holds code, or nothing that fits; or it was made for
            pixels normalized otherwise.
    """
    return fitting_state(read_values(path), network, path.name, expected)


def apply_weights(network: nn.Module, state: StateDict, where: str) -> None:
    """Copies tensors into a network of the same architecture, in the network's own precision.

    Raises:
        ModelError: it is another architecture; names the first tensor that differs, and both shapes.
    """
    own = tensors_of(network)
    if copied := _copied(network, own):
        raise ModelError(
            f"model: its state_dict gives {copied} as a copy of what it computes with, so that no weights can be "
            "loaded; let it give the tensors themselves"
        )
    constants = [name for name, tensor in network.named_buffers() if is_normalization(name, tensor.shape)]
    wanted = {
        name: tensor
        for name, tensor in own.items()
        # Files from before torch 0.4.1 lack this count of batches; files of the network inside a wrapper its constants.
        if name in state or not (name.endswith("num_batches_tracked") or name in constants)
    }
    for name in wanted:
        if name not in state:
            raise ModelError(_lacking(name, own, state, where))
    wrong = [name for name, tensor in wanted.items() if state[name].shape != tensor.shape]
    if wrong:
        raise ModelError(_wrong_shapes(wrong, own, state, where))
    for name, tensor in wanted.items():
        kind = str(state[name].dtype).removeprefix("torch.")
        if state[name].is_complex() and not tensor.is_complex():
            raise ModelError(f"weights: {name} in {where} is of {kind}, the model's is real; name its model")
        if tensor.is_floating_point() and not state[name].is_floating_point():
            raise ModelError(f"weights: {name} in {where} is of {kind}, rounded; use weights from before the rounding")
        if (state[name].is_floating_point() or state[name].is_complex()) and not torch.isfinite(state[name]).all():
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


def _copied(network: nn.Module, own: StateDict) -> str:
    """The first tensor that shares no memory with one of the network's; what is copied into it would have no effect."""
    places = {
        tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers()) if tensor.numel()
    }
    return next(
        (name for name, each in own.items() if each.numel() and each.untyped_storage().data_ptr() not in places), ""
    )


def _lacking(name: str, own: StateDict, state: StateDict, where: str) -> str:
    """The first tensor that a file lacks, and what it may have in its place."""
    shape = tuple(own[name].shape)
    others = [other for other in state if other not in own]
    alike = next((other for other in others if tuple(state[other].shape) == shape), next(iter(others), None))
    if alike is None:
        return f"weights: {where} lacks {name} {shape}; it is of another architecture, or without its head"
    there = f"{alike} {tuple(state[alike].shape)}"
    return f"weights: {where} lacks {name} {shape} and has {there}; it is of another architecture"


def _wrong_shapes(names: list[str], own: StateDict, state: StateDict, where: str) -> str:
    """The first tensor whose shape differs, and whether that is the head alone."""
    first = names[0]
    theirs, ours = tuple(state[first].shape), tuple(own[first].shape)
    more = f" and {len(names) - 1} more differ" if len(names) > 1 else ""
    head = next((name for name in reversed(own) if own[name].dim() >= 2), "").rpartition(".")[0]
    is_head = head and all(name.rpartition(".")[0] == head for name in names)
    if is_head and theirs[1:] == ours[1:]:
        return (
            f"weights: {where} has {first} {theirs}, the model {ours}: a head of {theirs[0]} classes, the model's has "
            f"{ours[0]}; name the model and the classes that it was made for"
        )
    return (
        f"weights: {where} has {first} {theirs}, the model {ours}{more}; "
        "name the model and the classes that it was made for"
    )


def classes_in(state: StateDict, network: nn.Module) -> int | None:
    """Classes of a state dict's head, going by the network's last weight matrix; None if it has none."""
    matrices = [name for name, tensor in tensors_of(network).items() if tensor.dim() >= 2]
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
        return place if isinstance(place, Path) else _cached_file(place, source.name)
    import torchvision  # Not at the top: it takes as long to load as torch does.

    return _cached_file(torchvision.models.get_model_weights(source.imagenet).DEFAULT.url, source.name)


def _cached_file(url: str, model: str) -> Path:
    """The file of a URL in torch's cache, downloaded if it is missing."""
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


def state_sha256(network: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of a network's tensors, for weights that came from no file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors_of(network).items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
