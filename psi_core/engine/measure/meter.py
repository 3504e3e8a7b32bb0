"""SparsenessMeter: the measures of any module's activations, from a notebook, without a run."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import get_args

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from psi_core.config import Unit
from psi_core.engine.measure.reducer import Reducer, measure_of
from psi_core.engine.measure.sparseness import Moments
from psi_core.engine.models.activations import NONNEGATIVE, RELUS, is_rectified, word_of
from psi_core.engine.models.channel_axes import ChannelAxes
from psi_core.engine.models.layers import Completeness, completeness
from psi_core.engine.models.taps import Taps, weakly
from psi_core.engine.python_values import names_of, require_module
from psi_core.errors import ConfigError, ModelError, first_of, unknown_name
from psi_core.measures import MEASURE_NAMES, MEASURES


@dataclass(slots=True)
class _Forward:
    """One call of the module.

    Attributes:
        images: rows of its input, or None where that is no tensor.
        is_running: whether it has not ended, or ended in an error.
        moments: by layer in the order they ran.
    """

    images: int | None
    is_running: bool
    moments: dict[str, Moments] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _PassedOver:
    """An activation that is not measured.

    Attributes:
        word: what it is called, `GELU`.
        is_relu: whether it would be, had it a row for each image.
        has_rows: whether it has.
        shape: shape of its output behind the first axis.
    """

    word: str
    is_relu: bool
    has_rows: bool
    shape: tuple[int, ...]


class SparsenessMeter:
    """Measures every ReLU output of a module while the block runs; several calls of the module are joined.

    ```python
    with SparsenessMeter(model) as meter:
        model(images)
    meter.psi["features.1"]
    ```

    Activations that it leaves out, such as a GELU beside the ReLUs, are told in a warning when the block ends; those in
    scripted code or written by hand it cannot see.

    Args:
        model: any module. Its hooks, modes and gradients are left as they were.
        layers: module paths to measure instead of the ReLUs, `#2` for a second call in one forward. They and
            `measures` may be text with commas.
        unit: `neuron` for every scalar, `channel` for a channel's mean over positions, `token` for a position's over
            channels. Channels are found as a run finds them; where that cannot tell, they lie on axis 1.
        rectify: `relu` or `abs` for layers that respond below 0.
        measures: those that cost a pass of their own and are wanted too: `kurtosis`, `gini`, `entropy`.

    Raises:
        ConfigError: `unit`, `rectify` or a measure is none of those, or `layers` holds no names.
        ModelError: `model` is no module, or a scripted one, which cannot be watched.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str] | None = None,
        unit: str = "neuron",
        rectify: str = "none",
        measures: Sequence[str] = (),
    ) -> None:
        require_module(model)
        if isinstance(model, torch.jit.ScriptModule):
            raise ModelError(
                "model: it is scripted, and its layers cannot be seen; give the module that it was made of"
            )
        self._layers = None if layers is None else names_of("layers", layers)
        if self._layers == ():
            raise ConfigError("layers: the list is empty; write paths of modules, or leave it out for the ReLUs")
        self._measures = names_of("measures", measures)
        for name in self._measures:
            if name not in MEASURE_NAMES:
                raise ConfigError(unknown_name("measure", name, MEASURES))
        for where, value, known in (
            ("unit", unit, get_args(Unit)),
            ("rectify", rectify, ("none", "relu", "abs")),
        ):
            if value not in known:
                raise ConfigError(unknown_name(where, value, known))
        self._rectify = rectify
        self._reducer = Reducer(unit, rectify, self._measures)
        self._model = model
        self._taps = Taps(model, weakly(self._receive), with_modules=layers is not None)
        self._has_tokens = unit == "token"
        # For neurons it does not matter where channels lie, and to follow them costs time.
        self._axes = None if unit == "neuron" else ChannelAxes()
        self._handles: list[RemovableHandle] = []
        self._seen: dict[str, None] = {}
        self._passed_over: dict[str, _PassedOver] = {}
        self._forwards: list[_Forward] = []

    def __enter__(self) -> "SparsenessMeter":
        if self._handles:
            raise ConfigError("meter: its block runs already; end it, or take another SparsenessMeter")
        if self._axes is not None:
            self._axes.__enter__()  # type: ignore[no-untyped-call]
        self._taps.__enter__()
        self._handles = [
            self._model.register_forward_pre_hook(self._begin_forward, prepend=True, with_kwargs=True),
            self._model.register_forward_hook(self._end_forward),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._taps.__exit__(kind, error, traceback)
        if self._axes is not None:
            self._axes.__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]
        self._drop_failed_forward()
        found = self._completeness()
        if kind is None and found.measured and found.left_out:
            warnings.warn(f"layers: {found}", stacklevel=2)

    @property
    def psi(self) -> dict[str, Tensor]:
        """Population sparseness by layer, (image,) float64 in 0..1, NaN where the layer is silent."""
        return self.measure("psi")

    def measure(self, name: str) -> dict[str, Tensor]:
        """A measure by layer, (image,) float64.

        Raises:
            ConfigError: there is no such measure.
            ModelError: no ReLU that can be measured ran, or not a layer that was asked for, or the calls of the module
                differ in the layers they ran.
        """
        if name not in MEASURE_NAMES:
            raise ConfigError(unknown_name("measure", name, MEASURES))
        if MEASURES[name].costs_a_pass and name not in self._measures:
            raise ConfigError(f"measure: {name} was not taken; give SparsenessMeter(model, measures=[{name!r}])")
        ended = [forward for forward in self._forwards if not forward.is_running]
        layers = list(ended[0].moments) if ended else []
        for forward in ended:
            if list(forward.moments) != layers:
                odd = sorted({*layers} ^ {*forward.moments}) or ["their order"]
                raise ModelError(
                    f"layers: the module's calls differ in the layers they ran ({', '.join(odd[:3])}), so their images "
                    "cannot be joined; measure each call in a block of its own"
                )
        if ended and not layers and self._layers is None:
            raise ModelError(self._why_nothing())
        for layer in self._layers or ():
            if self._seen and layer not in layers:
                raise ModelError(unknown_name("layers", layer, self._seen))
        return {layer: torch.cat([measure_of(name, forward.moments[layer]) for forward in ended]) for layer in layers}

    def _receive(self, path: str, kind: str, output: Tensor) -> None:
        self._seen[path] = None
        wanted = is_rectified(kind, *self._taps.arguments) if self._layers is None else path in self._layers
        images = self._forwards[-1].images if self._forwards else None
        has_rows = images is None or (output.dim() > 1 and len(output) == images)
        if self._layers is None and not (wanted and has_rows):
            self._pass_over(path, kind, output, wanted, has_rows)
            return
        if not wanted:
            return
        if not self._forwards:
            self._forwards.append(_Forward(None, is_running=False))  # A part of the module was called, not the module.
        forward = self._forwards[-1]
        if not has_rows:
            raise ModelError(f"layers: {path} does not give a row of responses per image; leave it out")
        with torch.no_grad():
            if self._rectify == "none" and kind not in NONNEGATIVE - {"maximum"} and bool((output < 0).any()):
                raise ModelError(f"layers: {path} responds below 0, where sparseness means nothing; give rectify='abs'")
            if self._has_tokens and output.dim() < 3:
                raise ModelError(f"unit: {path} gives one response a channel and so has no tokens; give layers=[...]")
            axis = self._axes.axis_of(output) if self._axes is not None else None
            moments, _ = self._reducer(output, axis or 1)
            if not bool(torch.isfinite(moments.squares).all()):
                raise ModelError(f"layers: {path} responds with NaN or infinity; check weights and images")
            forward.moments[path] = moments

    def _pass_over(self, path: str, kind: str, output: Tensor, is_relu: bool, has_rows: bool) -> None:
        """Takes note of an activation of features; what is made of a weight, or the larger of two features, is none."""
        word = word_of(kind)
        arguments, _ = self._taps.arguments
        is_of_weights = bool(arguments) and isinstance(arguments[0], nn.Parameter)
        if word is not None and not is_of_weights and (is_relu or kind not in RELUS):
            self._passed_over[path] = _PassedOver(word, is_relu, has_rows, tuple(output.shape[1:]))

    def _completeness(self) -> Completeness:
        """How many activations of the calls so far were measured."""
        left_out = Counter(each.word for each in self._passed_over.values() if each.has_rows)
        windows = Counter(each.word for each in self._passed_over.values() if not each.has_rows)
        hidden = [(word_of(kind), count) for kind, count in self._taps.hidden.items() if word_of(kind) is not None]
        measured = {path for forward in self._forwards for path in forward.moments}
        others = left_out.most_common(), windows.most_common(), hidden if self._layers is None else []
        return completeness(len(measured), *others, "layers=[NAMES], rectify='relu'")

    def _why_nothing(self) -> str:
        """Why no call of the module could be measured."""
        way_out = "give names as layers=[...], and rectify='abs'"
        apart = next(((path, each.shape) for path, each in self._passed_over.items() if each.is_relu), None)
        if apart is not None:
            return (
                f"layers: no ReLU of the module gives a row for each image ({apart[0]} gives others, of {apart[1]}, as "
                "for windows, experts or steps in time); put images first there, as batch_first=True does, or "
                f"{way_out}"
            )
        if self._passed_over:
            return f"layers: the module calls no ReLU, but {first_of([*self._passed_over])}; {way_out}"
        hidden = self._completeness().left_out
        return f"layers: the module calls no ReLU{f' but {hidden}' if hidden else ''}; {way_out}"

    def _begin_forward(self, _module: nn.Module, inputs: tuple[object, ...], named: dict[str, object]) -> None:
        self._drop_failed_forward()
        tensors = [value for value in (*inputs, *named.values()) if isinstance(value, Tensor) and value.dim()]
        if self._axes is not None and tensors and tensors[0].dim() > 2:
            self._axes.begin(tensors[0])
        self._forwards.append(_Forward(len(tensors[0]) if tensors else None, is_running=True))

    def _end_forward(self, _module: nn.Module, _inputs: object, _output: object) -> None:
        self._forwards[-1].is_running = False

    def _drop_failed_forward(self) -> None:
        """Takes back what a call measured before it raised an error; its later layers have no rows."""
        if self._forwards and self._forwards[-1].is_running:
            self._forwards.pop()
