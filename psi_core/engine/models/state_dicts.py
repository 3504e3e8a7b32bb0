"""State dicts as training scripts save them: among sub-dictionaries and prefixes, the one that fits the network.

Every change on the way to the network's own names is reported in a sentence.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from psi_core.errors import ModelError, first_of

StateDict = dict[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]
MeanSd = tuple[Sequence[float], Sequence[float]]

_NESTING = 4
"""How deep wrappers are opened, `{"ema": {"model": {"state_dict": ...}}}`."""

_WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Put anywhere into names by DataParallel, averaged models, torch.compile, FSDP and activation checkpointing."""

_AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged?|shadow)([._]|$)")
"""Places of exponential moving averages, beside which plain weights are taken."""

_AVERAGING_COUNT = "n_averaged"
"""What torch.optim.swa_utils.AveragedModel keeps beside the weights."""

_AUXILIARY_HEADS = ("aux1.", "aux2.", "AuxLogits.")
"""Heads of GoogLeNet and Inception that only training uses; the networks here have none."""

_BESIDE = re.compile(r"((.*_)?(criterion|loss|metrics?|acc|accuracy|auroc)(_\w+)?)\.|\w*total_(ops|params)$")
"""What training keeps beside a network's own tensors: losses' weights, metrics, thop's counts."""

_MEAN = re.compile(r"(^|[._])(\w*_)?(mean|means|mu)$")
_SD = re.compile(r"(^|[._])(\w*_)?(std|stds|sd|sigma|stddev)$")

_OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
    (re.compile(r"weight_g$"), "parametrizations.weight.original0"),
    (re.compile(r"weight_v$"), "parametrizations.weight.original1"),
)
"""Names in torchvision's published files of DenseNet and ViT and of weight normalization, and today's names."""


@dataclass(slots=True)
class _Part:
    """A mapping of tensors in a file, read under one prefix.

    Attributes:
        keys: keys that lead to it.
        prefix: what stands before the network's names.
        state: its tensors under the network's names.
        others: its tensors that have no such prefix.
        notes: what was done to its names.
    """

    keys: tuple[str, ...]
    prefix: str
    state: StateDict
    others: StateDict
    notes: list[str]

    @property
    def place(self) -> str:
        """Keys and prefix, as a sentence names them."""
        prefix = [f"'{self.prefix}'"] if self.prefix else []
        return " in ".join([*prefix, *(f"'{key}'" for key in reversed(self.keys))]) or "the names without a prefix"

    @property
    def is_averaged(self) -> bool:
        """Whether these are moving averages of weights."""
        return any(_AVERAGED.search(place) for place in (*self.keys, self.prefix))

    def fit(self, own: Shapes) -> tuple[int, int]:
        """How well it fits: 0 if wholly, -1 if but for rows of the head, -2 if not; then how many shapes agree."""
        wanted = {name: shape for name, shape in own.items() if not name.endswith("num_batches_tracked")}
        there = {name: tuple(self.state[name].shape) for name in wanted if name in self.state}
        lacking = [name for name in wanted if name not in there and not is_normalization(name, wanted[name])]
        wrong = [name for name, shape in there.items() if shape != wanted[name]]
        if lacking or any(there[name][1:] != wanted[name][1:] or not there[name] for name in wrong):
            return -2, len(there) - len(wrong)
        return -min(1, len(wrong)), 0


_MOST_NUMBERS = 2**31
"""Of a sparse tensor with all its zeros; the largest layer of any image classifier has a tenth of it."""


def tensors_of(network: nn.Module) -> StateDict:
    """The tensors that a file of a network's weights holds, by name; those that the network computes with, not copies.

    Some networks have a `state_dict` that leaves tensors out, copies them, or wraps them.
    """
    places: list[tuple[str, Tensor]] = [
        *network.named_parameters(remove_duplicate=False),
        *network.named_buffers(remove_duplicate=False),
    ]
    own = dict(places)
    stated = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    return {name: own.get(name, tensor).detach() for name, tensor in stated.items()} if stated else own


def fitting_state(
    values: object, network: nn.Module, where: str, expected: MeanSd | None = None
) -> tuple[StateDict, list[str]]:
    """The float32 state dict in what a file holds that fits a network, and what was done to it, one sentence each.

    Where none fits wholly, the one that shares most names: `apply_weights` then says what differs. Plain weights are
    taken where averaged ones (EMA) lie beside them.

    Args:
        values: what was read.
        network: also on the meta device; names and shapes of its tensors decide. Its head may have other classes.
        where: name of the file, for messages.
        expected: mean and sd by which pixels will be normalized, or None where the user chose them.

    Raises:
        ModelError: there is none, two fit, or the file holds another normalization than the expected one.
    """
    own = {name: tuple(tensor.shape) for name, tensor in tensors_of(network).items()}
    found = list(_mappings(values, (), set()))
    if not found:
        raise ModelError(f"weights: {where} holds no state dict; save it with torch.save(model.state_dict(), path)")
    parts = [part for keys, mapping in found for part in _parts(keys, mapping, own, where)]
    if not parts:
        raise ModelError(_nothing_fits(found, own, where))
    part, averaged = _chosen(parts, own, where)
    if sum(name in part.state for name in own) < len(own) / 2:
        raise ModelError(_nothing_fits(found, own, where))
    notes = [*_place_notes(part, averaged, where), *part.notes]
    _require_expected(part, own, where, expected, notes)
    _leave_out(part, own, where, notes)
    return _in_float32(part.state, where, notes), notes


def _mappings(
    values: object, keys: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], Mapping[object, object]]]:
    """Every mapping that holds tensors, with the keys that lead to it; a pickle may hold a cycle."""
    if len(keys) > _NESTING or id(values) in seen:
        return
    if isinstance(values, list | tuple) and len(values) <= 16:
        values = dict(enumerate(values)) if any(isinstance(value, Mapping) for value in values) else {}
    if not isinstance(values, Mapping):
        return
    seen.add(id(values))
    if any(_is_tensor(value) for value in values.values()):
        yield keys, values
    for key, value in values.items():
        yield from _mappings(value, (*keys, str(key)), seen)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiub")


def _dense(value: object) -> Tensor:
    """A tensor with all its zeros, from one of any layout, or from an array."""
    tensor = torch.as_tensor(value)
    if tensor.layout == torch.strided:
        return tensor
    if tensor.numel() > _MOST_NUMBERS:
        raise ModelError(f"weights: a sparse tensor of shape {tuple(tensor.shape)} has no room in memory; use others")
    return tensor.to_dense()


def _parts(keys: tuple[str, ...], mapping: Mapping[object, object], own: Shapes, where: str) -> Iterator[_Part]:
    """A mapping under every prefix that some of the network's names have in it."""
    tensors = {str(name): _dense(value) for name, value in mapping.items() if _is_tensor(value)}
    left = [str(name) for name, value in mapping.items() if not _is_tensor(value) and not isinstance(value, Mapping)]
    notes = [f"weights: left out {_quoted(left)} of {where}, which is no tensor"] if left else []
    if _AVERAGING_COUNT in tensors and _AVERAGING_COUNT not in own and len(tensors) > 1:
        del tensors[_AVERAGING_COUNT]
        notes.append(f"weights: left out '{_AVERAGING_COUNT}' of {where}, which counts averaged steps")
    for names, further in _renamings(tensors, own, where):
        for prefix in dict.fromkeys(start for name in names.values() for start, end in _splits(name) if end in own):
            state = {name.removeprefix(prefix): tensors[old] for old, name in names.items() if name.startswith(prefix)}
            others = {name: tensors[old] for old, name in names.items() if not name.startswith(prefix)}
            yield _Part(keys, prefix, state, others, [*notes, *_prefix_notes(prefix, others, where), *further])
    if lower := _lower_prefix(tensors, own):
        state = {f"{lower}{name}": tensor for name, tensor in tensors.items()}
        yield _Part(keys, "", state, {}, [*notes, f"weights: put the prefix '{lower}' before every tensor of {where}"])


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """A dotted name cut at its start and at every dot."""
    yield "", name
    for at, letter in enumerate(name):
        if letter == ".":
            yield name[: at + 1], name[at + 1 :]


def _renamings(tensors: StateDict, own: Shapes, where: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """New names by the file's: old ones as they are today where the network has those; also without wrappers' parts."""
    names: dict[str, str] = {}
    for name in tensors:
        now = _current_name(name)
        names[name] = now if now != name and not _ends_in(name, own) and _ends_in(now, own) else name
    changed = [name for name, now in names.items() if now != name]
    notes = []
    if changed:
        first = changed[0]
        notes.append(
            f"weights: renamed {len(changed)} tensors of {where} from old names, {first} to {names[first]} first"
        )
    yield names, notes
    if wrappers := [wrapper for wrapper in _WRAPPERS if any(f".{wrapper}" in name for name in names.values())]:
        bare = {name: _without(wrappers, now) for name, now in names.items()}
        if len(set(bare.values())) == len(bare):
            yield bare, [*notes, f"weights: took {_quoted(wrappers)} out of the names of {where}"]


def _ends_in(name: str, own: Shapes) -> bool:
    return any(end in own for _, end in _splits(name))


def _without(wrappers: list[str], name: str) -> str:
    for wrapper in wrappers:
        name = name.replace(f".{wrapper}", ".")
    return name


def _current_name(name: str) -> str:
    for pattern, replacement in _OLD_NAMES:
        name = pattern.sub(replacement, name)
    return name


def _prefix_notes(prefix: str, others: StateDict, where: str) -> list[str]:
    if not others:
        parts = prefix.split(".")[:-1]
        return [f"weights: took the prefix '{part}.' off every tensor of {where}" for part in parts]
    return [f"weights: took what begins with '{prefix}' out of {where}, and left out {_quoted([*others])}"]


def _lower_prefix(tensors: StateDict, own: Shapes) -> str:
    """The prefix of a network that wraps the one of the file, and holds besides no more than a normalization."""
    names = [name for name in own if not is_normalization(name, own[name])]
    if not names or names[0] in tensors:
        return ""
    starts = [start for start, end in _splits(names[0]) if end in tensors]
    return next((s for s in starts if s and all(n.startswith(s) and n.removeprefix(s) in tensors for n in names)), "")


def is_normalization(name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor is, by name and shape, the mean or sd by which a network normalizes pixels."""
    is_named = bool(_MEAN.search(name) or _SD.search(name)) and "running_" not in name
    return is_named and math.prod(shape) in (1, 3) and len(shape) <= 4


def _chosen(parts: list[_Part], own: Shapes, where: str) -> tuple[_Part, str | None]:
    """The part that fits the network best, and the averaged one that it was preferred to, if any."""
    best = max(part.fit(own) for part in parts)
    rivals = [part for part in parts if part.fit(own) == best]
    if best[0] < 0:
        return rivals[0], None
    plain = [part for part in rivals if not part.is_averaged]
    averaged = [part for part in rivals if part.is_averaged]
    first, *others = plain or averaged
    for other in others:
        if any(not torch.equal(tensor, other.state[name]) for name, tensor in first.state.items() if name in own):
            raise ModelError(
                f"weights: two state dicts of {where} fit the model, {first.place} and {other.place}; "
                "keep one of them with torch.save(part, path), and name that file"
            )
    # A part may hold a copy of itself, such as its average: what has the copy's prefix is then no weight of its own.
    for copy in (*others, *averaged):
        if copy.keys == first.keys and copy.prefix.startswith(first.prefix) and copy is not first:
            inner = copy.prefix.removeprefix(first.prefix)
            first.state = {name: t for name, t in first.state.items() if name in own or not name.startswith(inner)}
    return first, averaged[0].place if plain and averaged else None


def _place_notes(part: _Part, averaged: str | None, where: str) -> list[str]:
    if not part.keys:
        return [f"weights: left the averaged {averaged} of {where}"] if averaged else []
    place = " in ".join(f"'{key}'" for key in reversed(part.keys))
    if part.is_averaged:
        return [f"weights: took {place} out of {where}, averaged weights, the only ones there"]
    return [f"weights: took {place} out of {where}" + (f", not the averaged {averaged}" if averaged else "")]


def _nothing_fits(found: list[tuple[tuple[str, ...], Mapping[object, object]]], own: Shapes, where: str) -> str:
    """The sentence for a file whose names are not the network's: both sides' names."""
    largest = sorted(found, key=lambda each: -len(each[1]))[:3]
    held = []
    for keys, mapping in largest:
        names = [str(name) for name, value in mapping.items() if _is_tensor(value)]
        held.append((f"under '{'.'.join(keys)}' " if keys else "") + _quoted(names))
    return (
        f"weights: {where} holds {'; '.join(held)}, and the model asks for {_quoted([*own])}; "
        "name the model that it was made for"
    )


def _require_expected(part: _Part, own: Shapes, where: str, expected: MeanSd | None, notes: list[str]) -> None:
    """Refuses a file whose wrapper normalized pixels otherwise than the run will; takes its tensors out."""
    beside = {name: t for name, t in (*part.state.items(), *part.others.items()) if name not in own}
    extras = {name: tensor for name, tensor in beside.items() if is_normalization(name, tensor.shape)}
    for name in extras:
        part.state.pop(name, None)
    mean = next((name for name in extras if _MEAN.search(name)), None)
    sd = next((name for name in extras if _SD.search(name)), None)
    if mean is None or sd is None:
        return
    values = [extras[name].flatten().double() for name in (mean, sd)]
    if values[0].abs().max() > 2:  # In gray levels, as Detectron's.
        values = [value / 255 for value in values]
    written = "/".join(",".join(f"{number:.4g}" for number in value.tolist()) for value in values)
    if expected is not None and not _agree(values, expected):
        raise ModelError(
            f"weights: {where} was made for pixels normalized by its {mean} and {sd}, which the model lacks; "
            f"write --normalize {written}, or --normalize none where the model does it itself"
        )
    notes.append(f"weights: left out '{mean}' and '{sd}' of {where}, a normalization, {written}; --normalize holds")


def _agree(values: Sequence[Tensor], expected: MeanSd) -> bool:
    pairs = zip(values, expected, strict=True)
    return all(bool(((value - torch.tensor(side, dtype=torch.float64)).abs() < 2e-3).all()) for value, side in pairs)


def _leave_out(part: _Part, own: Shapes, where: str, notes: list[str]) -> None:
    """Takes out what only training uses."""
    foreign = tuple(head for head in _AUXILIARY_HEADS if not any(name.startswith(head) for name in own))
    heads = [head[:-1] for head in foreign if any(name.startswith(head) for name in part.state)]
    beside = [name for name in part.state if name not in own and _BESIDE.search(name)]
    part.state = {
        name: tensor
        for name, tensor in part.state.items()
        if name in own or not (name.startswith(foreign) or name in beside)
    }
    if heads:
        notes.append(f"weights: left out {_quoted(heads)} of {where}, auxiliary heads that only training uses")
    if beside:
        notes.append(f"weights: left out {_quoted(beside)} of {where}, which only training uses")


def _in_float32(state: StateDict, where: str, notes: list[str]) -> StateDict:
    for name, tensor in state.items():
        if tensor.is_quantized:
            raise ModelError(f"weights: {name} in {where} is quantized; save the weights from before the quantization")
        if tensor.is_meta:
            raise ModelError(f"weights: {name} in {where} has a shape and no values; save it from the CPU or a GPU")
    kinds = [tensor.dtype for tensor in state.values() if tensor.is_floating_point() and tensor.dtype != torch.float32]
    for kind in dict.fromkeys(kinds):
        name = str(kind).removeprefix("torch.")
        notes.append(f"weights: turned {kinds.count(kind)} of {len(state)} tensors of {where} from {name} to float32")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _quoted(names: list[str]) -> str:
    return first_of([f"'{name}'" for name in names])
