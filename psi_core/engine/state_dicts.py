"""State dicts as they are in the wild: taken out of what training scripts save around them, and named as the network's.

Opens no file. Whatever is changed on the way is said, one sentence each.
"""

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from psi_core.errors import ModelError

StateDict = dict[str, Tensor]

_PLAIN = ("state_dict", "model_state_dict", "model", "module", "net")
_AVERAGED = ("state_dict_ema", "ema_state_dict", "model_ema", "ema")
_NESTING = 3
"""Wrappers inside wrappers that are opened: `{"ema": {"model": {"state_dict": ...}}}`. A pickle may hold a cycle."""

_PREFIXES = ("module.", "_orig_mod.", "model.")
"""Of DistributedDataParallel and averaged models, of torch.compile, and of a LightningModule's `self.model`."""

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Heads of GoogLeNet and Inception that only training uses; our networks have none."""

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
        own: names of the network's tensors; with none, every known prefix is taken off.
        where: name of the file.

    Raises:
        ModelError: there is none.
    """
    found = _found(values, _NESTING)
    if found is None:
        raise ModelError(f"weights: {where} holds no state dict; save it with torch.save(model.state_dict(), path)")
    mapping, way = found
    notes = _taken(values, way, where)
    state = {str(name): tensor for name, tensor in mapping.items() if isinstance(tensor, Tensor)}
    if others := [str(name) for name, value in mapping.items() if not isinstance(value, Tensor)]:
        notes.append(f"weights: left out {_listed(others)} of {where}, which is no tensor")
    if _AVERAGING_COUNT in state and _AVERAGING_COUNT not in own and len(state) > 1:
        del state[_AVERAGING_COUNT]
        notes.append(f"weights: left out '{_AVERAGING_COUNT}' of {where}, which counts averaged steps")
    for change in (_without_prefixes, _renamed, _without_auxiliary_heads):
        state, said = change(state, own, where)
        notes += said
    return _in_float32(state, where, notes), notes


def _found(values: object, nesting: int) -> tuple[Mapping[object, object], tuple[str, ...]] | None:
    """The first mapping of tensors, plain ones before averaged ones, and the keys that lead to it."""
    if not isinstance(values, Mapping):
        return None
    for key in (*_PLAIN, *_AVERAGED) if nesting else ():
        if (inner := _found(values.get(key), nesting - 1)) is not None:
            return inner[0], (key, *inner[1])
    holds_tensors = any(isinstance(value, Tensor) for value in values.values())
    is_flat = all(isinstance(value, Tensor | int | float | str | None) for value in values.values())
    return (values, ()) if holds_tensors and is_flat else None


def _taken(values: object, way: tuple[str, ...], where: str) -> list[str]:
    if not way or not isinstance(values, Mapping):
        return []
    place = " in ".join(f"'{key}'" for key in reversed(way))
    if way[0] in _AVERAGED:
        return [f"weights: took {place} out of {where}, averaged weights, the only ones there"]
    averaged = next((key for key in _AVERAGED if _found(values.get(key), _NESTING - 1) is not None), None)
    return [f"weights: took {place} out of {where}" + (f", not the averaged '{averaged}'" if averaged else "")]


def _without_prefixes(state: StateDict, own: Collection[str], where: str) -> tuple[StateDict, list[str]]:
    """Takes off prefixes that every tensor has, as long as no name is already one of the network's."""
    notes = []
    while not any(name in own for name in state):
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        notes.append(f"weights: took the prefix '{prefix}' off every tensor of {where}")
    return state, notes


def _renamed(state: StateDict, own: Collection[str], where: str) -> tuple[StateDict, list[str]]:
    names = {name: _name_today(name) for name in state}
    changed = [name for name, now in names.items() if now != name and name not in own and (not own or now in own)]
    if not changed:
        return state, []
    first = changed[0]
    note = f"weights: renamed {len(changed)} tensors of {where} from old names, {first} to {names[first]} first"
    return {names[name] if name in set(changed) else name: tensor for name, tensor in state.items()}, [note]


def _name_today(name: str) -> str:
    for pattern, replacement in _OLD_NAMES:
        name = pattern.sub(replacement, name)
    return name


def _without_auxiliary_heads(state: StateDict, own: Collection[str], where: str) -> tuple[StateDict, list[str]]:
    foreign = [head for head in _AUXILIARY if not any(name.startswith(head) for name in own)]
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(tuple(foreign))}
    if not kept or len(kept) == len(state):
        return state, []
    dropped = [head.removesuffix(".") for head in foreign if any(name.startswith(head) for name in state)]
    return kept, [f"weights: left out {_listed(dropped)} of {where}, auxiliary heads that only training uses"]


def _in_float32(state: StateDict, where: str, notes: list[str]) -> StateDict:
    kinds = [tensor.dtype for tensor in state.values() if tensor.is_floating_point() and tensor.dtype != torch.float32]
    for kind in dict.fromkeys(kinds):
        name = str(kind).removeprefix("torch.")
        notes.append(f"weights: turned {kinds.count(kind)} of {len(state)} tensors of {where} from {name} to float32")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
