"""Layers: found by one dry forward, named, and chosen for a run."""

import fnmatch
import weakref
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from psi_core.engine.models.activations import NONNEGATIVE, RELUS, is_rectified, word_of
from psi_core.engine.models.channel_axes import ChannelAxes
from psi_core.engine.models.classifier import Output, output_notes, read_output, uncompiled
from psi_core.engine.models.complaints import COMPLAINTS, refused_forward, require_float
from psi_core.engine.models.sources import is_named_by_study
from psi_core.engine.models.taps import Taps, untouched, visible_modules
from psi_core.errors import ModelError, first_of, unknown_name
from psi_core.option_values import parse_channel_axis
from psi_core.runs.loading import LayerInfo


@dataclass(frozen=True, slots=True)
class LayerCall:
    """One call of a layer, as the dry forward saw it.

    Attributes:
        name: as tables show it.
        path: as `Taps` announces it: module path, function, number of the call.
        owner: path of the module whose forward made it.
        kind: class of the module or name of the function.
        shape: shape of its output for one image.
        activation: kind of activation, which every forward must repeat; empty for other layers.
        is_relu: whether `--layers relu` takes it.
        is_nonnegative: whether its outputs cannot be negative.
        is_leaf: whether no other module runs inside it; `--layers all` takes these.
        is_per_image: whether it gives one row per image; only such calls can be measured.
        parameters: number of parameters of all modules that have run by then.
        multiply_adds: likewise, of one image.
        channel_axis: axis of its output (batch, ...) along which its channels lie.
        is_axis_known: whether the forward told that axis, or the run names it; else it is taken to be 1.
    """

    name: str
    path: str
    owner: str
    kind: str
    shape: tuple[int, ...]
    activation: str
    is_relu: bool
    is_nonnegative: bool
    is_leaf: bool
    is_per_image: bool
    parameters: int
    multiply_adds: int
    channel_axis: int = 1
    is_axis_known: bool = True

    @property
    def is_activation(self) -> bool:
        """Whether it is an activation."""
        return bool(self.activation)

    @property
    def channels(self) -> int:
        """Feature maps, or features of a flat layer."""
        return self.shape[self.channel_axis - 1]


@dataclass(frozen=True, slots=True)
class NetworkTrace:
    """What one dry forward saw.

    Attributes:
        calls: every layer call in order.
        channels: channels of the images.
        classes: width of the logits.
        output: what the network gives.
        notes: a sentence about what its output was taken for, where it is not plain logits.
        unseen: activations in its gradient's graph that no call has shown, by what they are called.
        activation_bytes: bytes of all leaf outputs for one image in float32, kept for the gradient.
        apart: paths of calls that depend on the images and give no row per image, as those of windows do.
        strangers: classes of modules that it calls, with weights that are not among its own.
    """

    calls: tuple[LayerCall, ...]
    channels: int
    classes: int
    output: Output
    activation_bytes: int
    notes: tuple[str, ...] = ()
    unseen: tuple[tuple[str, int], ...] = ()
    apart: frozenset[str] = frozenset()
    strangers: tuple[str, ...] = ()

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one forward of one image."""
        return self.calls[-1].multiply_adds if self.calls else 0

    @property
    def owners(self) -> frozenset[str]:
        """Modules that must be watched so that every activation gets its name."""
        return frozenset(call.owner for call in self.calls if call.is_activation)


_DRY_IMAGES = 2
"""Two: with one, a row per image would look like a row per batch (SwinV2's position biases) or per window."""


class _Costs:
    """Parameters, multiply-adds and outputs of leaf modules, added up as modules run; the last two of one image."""

    def __init__(self) -> None:
        self.parameters = 0
        self.multiply_adds = 0
        self.leaf_outputs = 0
        self._counted: set[int] = set()

    def add(self, module: nn.Module, _inputs: object, output: object) -> None:
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in self._counted:
                self._counted.add(id(parameter))
                self.parameters += parameter.numel()
        if isinstance(output, Tensor) and isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            self.multiply_adds += output.numel() // _DRY_IMAGES * module.weight[0].numel()
        elif isinstance(output, Tensor) and isinstance(module, nn.Linear):
            self.multiply_adds += output.numel() // _DRY_IMAGES * module.in_features


def trace_network(network: nn.Module, channels: int, size: int) -> NetworkTrace:
    """Runs images of noise through the network and records every layer call.

    Raises:
        ModelError: the network cannot take that input, or does not give logits (batch, classes).
    """
    require_float(network)
    modules = visible_modules(network)
    costs, axes, calls = _Costs(), ChannelAxes(), list[LayerCall]()
    study_names = _StudyNames() if is_named_by_study(network) else None
    strangers = _Strangers(network)
    handles = [module.register_forward_hook(costs.add) for module in modules.values()]
    handles.append(nn.modules.module.register_module_forward_pre_hook(strangers.see))

    last_sigmoid: Tensor | None = None

    def receive(path: str, kind: str, output: Tensor) -> None:
        nonlocal last_sigmoid
        is_function, owner = heard.is_function, heard.owner
        module = None if is_function else modules.get(owner)
        # What is cut off before any module with weights is the image itself.
        is_relu = is_rectified(kind, *heard.arguments) and not (kind == "clamp" and not costs.parameters)
        is_leaf = is_function or (module is not None and next(module.children(), None) is None)
        last_sigmoid = output.detach().clone() if kind == "sigmoid" else None
        costs.leaf_outputs += output.numel() // _DRY_IMAGES if is_leaf else 0
        axis = axes.axis_of(output)
        calls.append(
            LayerCall(
                name=study_names.next_relu() if study_names and is_relu else path,
                path=path,
                owner=owner,
                kind=kind if module is None else type(module).__name__,
                shape=tuple(output.shape[1:]),
                activation="" if kind == "module" else kind,
                is_relu=is_relu,
                is_nonnegative=is_relu or (kind in NONNEGATIVE and kind != "maximum"),
                is_leaf=is_leaf,
                is_per_image=output.dim() > 1 and len(output) == _DRY_IMAGES,
                parameters=costs.parameters,
                multiply_adds=costs.multiply_adds,
                channel_axis=axis or 1,
                is_axis_known=axis is not None,
            )
        )
        if study_names is not None:
            study_names.see(module)

    parameter = next(iter(network.parameters()), None)  # Some networks have a parameters() that gives a list.
    device = parameter.device if parameter is not None else torch.device("cpu")
    images = dry_images(channels, size).to(device)
    taps = Taps(network, receive, with_modules=True)
    heard: Taps = weakref.proxy(taps)  # Else they and their receiver would keep each other, and the network.

    def can_take(number: int, channels: int = channels, size: int = size) -> bool:
        try:
            with untouched(network, device), torch.no_grad():
                given = network(torch.rand(number, channels, size, size, dtype=torch.float32, device=device))
        except COMPLAINTS:
            return False
        return not isinstance(given, Tensor) or given.shape[:1] == (number,)  # A view may cut images into other rows.

    axes.begin(images)
    try:
        with untouched(network, device), torch.no_grad(), uncompiled(), axes, taps:
            # No inference mode: what a network keeps for its next forward must take gradients there.
            torch.manual_seed(0)  # Layers that are made at the first forward are the same in every process.
            given = network(images)
    except COMPLAINTS as error:  # torch complains by RuntimeError, vision transformers by AssertionError.
        raise refused_forward(error, taps.failed_in, images, can_take) from None
    finally:
        for handle in handles:
            handle.remove()
    logits, output = read_output(given, _DRY_IMAGES, last_sigmoid)
    return NetworkTrace(
        calls=tuple(calls),
        channels=channels,
        classes=int(logits.shape[1]),
        output=output,
        activation_bytes=4 * costs.leaf_outputs,
        notes=output_notes(given, output) + strangers.notes,
        strangers=tuple(strangers.found),
    )


class _Strangers:
    """Takes note of modules that run and whose weights are none of a network's, as those of layers in a plain list."""

    def __init__(self, network: nn.Module) -> None:
        self._held = {id(module) for module in network.modules()}
        self._own = {id(parameter) for module in network.modules() for parameter in module._parameters.values()}
        self.found: dict[str, None] = {}

    def see(self, module: nn.Module, _inputs: object) -> None:
        # A layer that the network holds may compute with other tensors for one call (torch.func.functional_call).
        if id(module) in self._held:
            return
        if any(id(parameter) not in self._own for parameter in module.parameters(recurse=False)):
            self.found[type(module).__name__] = None

    @property
    def notes(self) -> tuple[str, ...]:
        names = ", ".join(self.found)
        if not names:
            return ()
        return (
            f"model: it calls modules that it does not hold ({names}), as layers in a plain list are: no weights file "
            "and no --device reaches them; keep them in an nn.ModuleList",
        )


def dry_images(channels: int, size: int) -> Tensor:
    """Images of noise in 0..1 for a dry forward, the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(_DRY_IMAGES, channels, size, size, dtype=torch.float32, generator=generator)


class _StudyNames:
    """Numbers ReLU outputs as Lee & Kim 2023 do: conv1, conv2, ... after convolutions, fc1, fc2, ... after matrices."""

    def __init__(self) -> None:
        self._kind = "conv"
        self._count = {"conv": 0, "fc": 0}

    def see(self, module: nn.Module | None) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            self._kind = "conv" if isinstance(module, nn.Conv2d) else "fc"

    def next_relu(self) -> str:
        self._count[self._kind] += 1
        return f"{self._kind}{self._count[self._kind]}"


def select_calls(trace: NetworkTrace, wanted: Iterable[str], rectify: str, model: str) -> tuple[LayerCall, ...]:
    """The calls that a run taps, in forward order.

    Args:
        trace: trace of the network.
        wanted: names, globs, module paths, `relu`, `all`, or `=NAME` for a layer called relu or all.
        rectify: `none` where no negative response may come.
        model: its name, for messages.

    Raises:
        ModelError: nothing fits a name, or a signed layer comes without a rectification.
    """
    chosen: set[str] = set()
    for pattern in wanted:
        found = [call for call in trace.calls if _fits(call, pattern)]
        # Others, as SwinV2's, are of tables of weights and none of images.
        apart = next((call for call in trace.calls if call.is_relu and call.path in trace.apart), None)
        if not found and pattern == "relu" and apart is not None:
            raise ModelError(
                f"layers: no ReLU of {model} gives a row for each image ({apart.name} gives others, of {apart.shape}, "
                "as for windows, experts or steps in time); put images first there, as batch_first=True does, or "
                "write --layers NAMES --rectify abs"
            )
        if not found and pattern == "relu":
            raise ModelError(
                f"layers: {model} calls no ReLU; see its layers with psi-tui layers {model} --all, "
                "and write --layers NAMES --rectify abs"
            )
        if not found:
            names = [call.name for call in trace.calls] + [call.path for call in trace.calls]
            raise ModelError(unknown_name("layers", pattern, dict.fromkeys(names)))
        chosen.update(call.path for call in found)
    calls = tuple(call for call in trace.calls if call.path in chosen)
    for call in calls:
        if rectify == "none" and not call.is_nonnegative:
            raise ModelError(
                f"layers: {call.name} ({call.kind}) can respond below 0, where sparseness means nothing; "
                "add --rectify relu or --rectify abs"
            )
        if not call.is_per_image:
            raise ModelError(f"layers: {call.name} does not give a row of responses per image; leave it out")
    return calls


def with_named_axes(calls: Sequence[LayerCall], axes: Sequence[str]) -> tuple[LayerCall, ...]:
    """The calls with the channel axes that a run names.

    Args:
        calls: the chosen calls.
        axes: `PATTERN=AXIS`, patterns as `select_calls` takes them; of several that fit a call, the last counts.

    Raises:
        ModelError: a pattern fits no call, or a call has no such axis.
    """
    found = list(calls)
    for text in axes:
        pattern, axis = parse_channel_axis(text)
        fitting = [place for place, call in enumerate(calls) if _fits(call, pattern)]
        if not fitting:
            raise ModelError(unknown_name("channel_axis", pattern, [call.name for call in calls]))
        for place in fitting:
            last = len(calls[place].shape)
            chosen = axis if axis > 0 else last + 1 + axis
            if not 1 <= chosen <= last:
                raise ModelError(
                    f"channel_axis: {calls[place].name} gives {last + 1} axes, the first of images, and so has no axis "
                    f"{axis} of channels; write 1 to {last}"
                )
            found[place] = replace(calls[place], channel_axis=chosen, is_axis_known=True)
    return tuple(found)


def axis_notes(calls: Sequence[LayerCall]) -> list[str]:
    """A sentence about the calls whose channel axis cannot be told."""
    names = [call.name for call in calls if not call.is_axis_known]
    if not names:
        return []
    return [
        f"layers: where the channels of {first_of(names)} lie cannot be told; axis 1 is taken; "
        f"name another with --channel-axis {names[0]}=AXIS"
    ]


@dataclass(frozen=True, slots=True)
class Completeness:
    """How many of a network's activations are measured.

    Attributes:
        measured: activations that are tapped.
        activations: all that fire in a forward, gates (sigmoid, softmax) left out.
        left_out: which are not measured, and how they could be; empty where all are.
    """

    measured: int
    activations: int
    left_out: str

    def __str__(self) -> str:
        return f"measured {self.measured} of {self.activations} activations" + (self.left_out and f": {self.left_out}")


def completeness_of(trace: NetworkTrace, tapped: Iterable[LayerCall]) -> Completeness:
    """How many of a network's activations are among the tapped calls."""
    paths = {call.path for call in tapped}
    words = {call.path: word_of(call.activation) for call in trace.calls if _is_of_features(call)}
    left_out = Counter(word for path, word in words.items() if path not in paths)
    windows = Counter(word_of(c.activation) for c in trace.calls if c.path in trace.apart and _is_named(c))
    signed = any(_is_of_features(c) and not c.is_nonnegative and c.path not in paths for c in trace.calls)
    way_out = f"--layers NAMES{' --rectify relu' if signed else ''}"
    return completeness(len(words.keys() & paths), left_out.most_common(), windows.most_common(), trace.unseen, way_out)


_Counts = Sequence[tuple[str | None, int]]
"""Activations by what they are called, and how many."""


def completeness(measured: int, left_out: _Counts, windows: _Counts, unseen: _Counts, way_out: str) -> Completeness:
    """How many activations are measured, and in words which are not.

    Args:
        measured: how many are.
        left_out: those that could be.
        windows: those without a row for each image.
        unseen: those that cannot be tapped.
        way_out: what to write for those that could be measured.
    """
    groups = (
        (left_out, f"left out ({way_out})"),
        (windows, "of windows or patches left out, without a row for each image"),
        (unseen, "in scripted code, under torch.func or written by hand, which cannot be tapped"),
    )
    parts = [f"{', '.join(f'{count} {word}' for word, count in counts)} {words}" for counts, words in groups if counts]
    everything = measured + sum(count for counts, _ in groups for _, count in counts)
    return Completeness(measured, everything, "; ".join(parts))


def _is_of_features(call: LayerCall) -> bool:
    """Whether a call is an activation of features: no gate, no maximum of two of them, no cutting off of the image."""
    return call.is_per_image and _is_named(call)


def _is_named(call: LayerCall) -> bool:
    is_rectifier = call.activation in RELUS
    return word_of(call.activation) is not None and (call.is_relu or not is_rectifier)


def exact_name(call: LayerCall) -> str:
    """What selects this call and no other: its name, behind `=` where the name is also a word for many layers."""
    return f"={call.name}" if call.name in ("relu", "all") else call.name


def describe_layers(calls: Sequence[LayerCall], unit: str) -> tuple[LayerInfo, ...]:
    """The chosen calls as `layers.json` holds them.

    Raises:
        ModelError: tokens are the units and a layer has none.
    """
    infos, parameters, multiply_adds = [], 0, 0
    for call in calls:
        if unit == "token" and len(call.shape) < 2:
            raise ModelError(
                f"unit: {call.name} gives one response a channel and so has no tokens; "
                "leave it out of --layers, or write --unit neuron"
            )
        neurons = torch.Size(call.shape).numel()
        units = {"neuron": neurons, "channel": call.channels, "token": neurons // max(1, call.channels)}[unit]
        own = (call.parameters - parameters, call.multiply_adds - multiply_adds)
        infos.append(
            LayerInfo(call.name, call.path, call.kind, call.shape, units, call.channels, *own, call.channel_axis)
        )
        parameters, multiply_adds = call.parameters, call.multiply_adds
    return tuple(infos)


def _fits(call: LayerCall, pattern: str) -> bool:
    if pattern.startswith("="):
        return pattern[1:] in (call.name, call.path)
    if pattern in ("relu", "all"):
        return call.is_per_image and (call.is_relu if pattern == "relu" else call.is_leaf)
    if pattern in (call.name, call.path):
        return True
    return (
        call.is_per_image
        and any(c in pattern for c in "*?[")
        and (fnmatch.fnmatchcase(call.name, pattern) or fnmatch.fnmatchcase(call.path, pattern))
    )
