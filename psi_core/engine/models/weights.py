"""Weights: read from a file, brought to the network's names, copied into it.

Files are never run, only their tensors are read. State dicts come as training scripts save them, wrapped and with
prefixes; every change on the way to the network's own names is reported in a sentence.
"""

import hashlib
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from psi_core.engine.devices import patience
from psi_core.engine.models.sources import ModelSource
from psi_core.engine.models.timm import timm_weights
from psi_core.errors import ModelError

StateDict = dict[str, Tensor]

_DAMAGE = (
    *(RuntimeError, ValueError, OSError, EOFError, LookupError, TypeError, AttributeError, AssertionError),
    *(ArithmeticError, ImportError, MemoryError, struct.error, zipfile.BadZipFile),
)
"""What unpickling a damaged file raises. Python's documentation gives no complete list."""


def read_weights(path: Path, network: nn.Module | None = None) -> tuple[StateDict, list[str]]:
    """The float32 tensors of a `.safetensors`, `.pt` or `.pth` file, and what was done to them, one sentence each.

    Args:
        path: path of the file.
        network: network that takes them, also on the meta device; its names decide which prefixes stay.

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


_PLAIN_KEYS = ("state_dict", "model_state_dict", "model", "module", "net")
_AVERAGED_KEYS = ("state_dict_ema", "ema_state_dict", "model_ema", "ema")
"""Under what training scripts save weights, and exponential moving averages of them."""

_NESTING = 3
"""How deep wrappers are opened, `{"ema": {"model": {"state_dict": ...}}}`; a pickle may hold a cycle."""

_PREFIXES = ("module.", "_orig_mod.", "model.")
"""Put before names by DistributedDataParallel and averaged models, torch.compile, a LightningModule's `self.model`."""

_AUXILIARY_HEADS = ("aux1.", "aux2.", "AuxLogits.")
"""Heads of GoogLeNet and Inception that only training uses; the networks here have none."""

_AVERAGING_COUNT = "n_averaged"
"""What torch.optim.swa_utils.AveragedModel keeps beside the weights."""

_OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
)
"""Names in torchvision's published files of DenseNet and ViT, and what its networks call the same tensors today."""


def state_dict_of(values: object, own: Collection[str], where: str) -> tuple[StateDict, list[str]]:
    """The float32 state dict in what a file holds, and what was done to it, one sentence each.

    Plain weights are taken where averaged ones (EMA) lie beside them.

    Args:
        values: what was unpickled.
        own: names of the network's tensors; where it is empty, every known prefix is taken off.
        where: name of the file, for messages.

    Raises:
        ModelError: there is none.
    """
    found = _innermost(values, _NESTING)
    if found is None:
        raise ModelError(f"weights: {where} holds no state dict; save it with torch.save(model.state_dict(), path)")
    mapping, keys = found
    notes = _wrapper_notes(values, keys, where)
    state = {str(name): tensor for name, tensor in mapping.items() if isinstance(tensor, Tensor)}
    if others := [str(name) for name, value in mapping.items() if not isinstance(value, Tensor)]:
        notes.append(f"weights: left out {_quoted(others)} of {where}, which is no tensor")
    if _AVERAGING_COUNT in state and _AVERAGING_COUNT not in own and len(state) > 1:
        del state[_AVERAGING_COUNT]
        notes.append(f"weights: left out '{_AVERAGING_COUNT}' of {where}, which counts averaged steps")
    for change in (_without_prefixes, _with_current_names, _without_auxiliary_heads):
        state, further = change(state, own, where)
        notes += further
    return _in_float32(state, where, notes), notes


def _innermost(values: object, nesting: int) -> tuple[Mapping[object, object], tuple[str, ...]] | None:
    """The first mapping of tensors, plain ones before averaged ones, and the keys that lead to it."""
    if not isinstance(values, Mapping):
        return None
    for key in (*_PLAIN_KEYS, *_AVERAGED_KEYS) if nesting else ():
        if (inner := _innermost(values.get(key), nesting - 1)) is not None:
            return inner[0], (key, *inner[1])
    holds_tensors = any(isinstance(value, Tensor) for value in values.values())
    is_flat = all(isinstance(value, Tensor | int | float | str | None) for value in values.values())
    return (values, ()) if holds_tensors and is_flat else None


def _wrapper_notes(values: object, keys: tuple[str, ...], where: str) -> list[str]:
    if not keys or not isinstance(values, Mapping):
        return []
    place = " in ".join(f"'{key}'" for key in reversed(keys))
    if keys[0] in _AVERAGED_KEYS:
        return [f"weights: took {place} out of {where}, averaged weights, the only ones there"]
    averaged = next((key for key in _AVERAGED_KEYS if _innermost(values.get(key), _NESTING - 1) is not None), None)
    return [f"weights: took {place} out of {where}" + (f", not the averaged '{averaged}'" if averaged else "")]


def _without_prefixes(state: StateDict, own: Collection[str], where: str) -> tuple[StateDict, list[str]]:
    """Without prefixes that every tensor has, until one of the names is the network's."""
    notes = []
    while not any(name in own for name in state):
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        notes.append(f"weights: took the prefix '{prefix}' off every tensor of {where}")
    return state, notes


def _with_current_names(state: StateDict, own: Collection[str], where: str) -> tuple[StateDict, list[str]]:
    names = {name: _current_name(name) for name in state}
    changed = [name for name, now in names.items() if now != name and name not in own and (not own or now in own)]
    if not changed:
        return state, []
    first = changed[0]
    note = f"weights: renamed {len(changed)} tensors of {where} from old names, {first} to {names[first]} first"
    return {names[name] if name in set(changed) else name: tensor for name, tensor in state.items()}, [note]


def _current_name(name: str) -> str:
    for pattern, replacement in _OLD_NAMES:
        name = pattern.sub(replacement, name)
    return name


def _without_auxiliary_heads(state: StateDict, own: Collection[str], where: str) -> tuple[StateDict, list[str]]:
    foreign = [head for head in _AUXILIARY_HEADS if not any(name.startswith(head) for name in own)]
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(tuple(foreign))}
    if not kept or len(kept) == len(state):
        return state, []
    dropped = [head.removesuffix(".") for head in foreign if any(name.startswith(head) for name in state)]
    return kept, [f"weights: left out {_quoted(dropped)} of {where}, auxiliary heads that only training uses"]


def _in_float32(state: StateDict, where: str, notes: list[str]) -> StateDict:
    kinds = [tensor.dtype for tensor in state.values() if tensor.is_floating_point() and tensor.dtype != torch.float32]
    for kind in dict.fromkeys(kinds):
        name = str(kind).removeprefix("torch.")
        notes.append(f"weights: turned {kinds.count(kind)} of {len(state)} tensors of {where} from {name} to float32")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _quoted(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


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
