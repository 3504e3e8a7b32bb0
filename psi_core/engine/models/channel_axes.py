"""Channel axes: along which axis of each output its channels lie, followed from call to call through one forward.

The call that makes features says where they lie: a convolution, batch or group normalization on axis 1, a matrix
product or layer normalization on the last. Permutations, reshapes and slices carry the axis along; what keeps the
number of axes (activations, sums, pooling, concatenation) keeps it. Where none of this reaches, as behind the products
of attention, the axis as long as the last features known is taken if it is the only one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

Marks = tuple[bool, ...]
"""For each axis of a tensor, whether it holds channels; more than one where they are split, as into heads."""

_ON_AXIS_1 = frozenset(
    {f"conv{transposed}{axes}d" for transposed in ("", "_transpose") for axes in (1, 2, 3)}
    | {"batch_norm", "instance_norm", "group_norm"}
)
_ON_LAST_AXIS = frozenset(
    {"linear", "bilinear", "embedding", "multi_head_attention_forward", "lstm", "gru", "rnn_tanh", "rnn_relu"}
)
_OVER_LAST_AXES = frozenset({"layer_norm", "rms_norm"})
_PRODUCTS = frozenset({"matmul", "mm", "bmm", "einsum"})
_LOST = frozenset({"rmatmul", "baddbmm", "addmm", "tensordot", "cdist", "outer"})
_RESHAPES = frozenset({"reshape", "view", "flatten", "unflatten", "reshape_as", "view_as", "ravel"})
_MOVES = frozenset(
    {"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "adjoint", "t"}
    | {"unsqueeze", "squeeze", "select", "unbind", "getitem", "expand", "expand_as", "broadcast_to"}
)
_REDUCTIONS = frozenset({"mean", "sum", "amax", "amin", "max", "min", "prod", "std", "var", "logsumexp"})
_TRANSPOSED_ATTRIBUTES = tuple(getattr(Tensor, name).__get__ for name in ("T", "mT", "H", "mH"))


class ChannelAxes(TorchFunctionMode):
    """Follows the channels of images through every call while the block runs.

    It must be entered before whatever reads outputs as they are made, `Taps` for one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._marks: Any = WeakTensorKeyDictionary()
        self._features = 0

    def begin(self, images: Tensor) -> None:
        """Takes in images (batch, channel, height, width), before a forward."""
        self._marks[images] = _single(images, 1)

    def axis_of(self, output: Tensor) -> int | None:
        """The axis of a layer's output (batch, ...) that holds channels; None where it cannot be told."""
        if output.dim() == 2:
            return 1
        marks = self._marks.get(output)
        if marks is not None:
            return _only_axis(output.shape, marks) or None
        fitting = [axis for axis, size in enumerate(output.shape) if axis and size == self._features]
        return fitting[0] if len(fitting) == 1 else None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the function, and marks the channels of its outputs."""
        call = _Call(func, args, kwargs or {})
        output = func(*args, **call.named)
        outputs = list(_tensors((output,)))
        for tensor, marks in zip(outputs, self._marks_of(call, outputs), strict=True):
            if marks is not None:
                self._marks[tensor] = marks
            elif tensor in self._marks:
                del self._marks[tensor]
        return output

    def _marks_of(self, call: "_Call", outputs: list[Tensor]) -> list[Marks | None]:
        if not outputs:
            return []
        if call.name in _ON_AXIS_1:
            return self._made(outputs, 1)
        if call.name in _ON_LAST_AXIS or (call.name in _OVER_LAST_AXES and call.normalized_axes == 1):
            return self._made(outputs, -1)
        if call.name in _PRODUCTS:
            return [self._product(call, outputs[0])]
        known = [(each, self._marks[each]) for each in call.inputs if each in self._marks]
        return _carried(call, known, outputs) if known and call.name not in _LOST else [None] * len(outputs)

    def _made(self, outputs: list[Tensor], axis: int) -> list[Marks | None]:
        """Marks of features that a call makes along an axis."""
        found = [_single(each, axis % each.dim()) if each.dim() > 1 else None for each in outputs]
        if found[0] is not None:
            self._features = int(outputs[0].shape[axis])
        return found

    def _product(self, call: "_Call", output: Tensor) -> Marks | None:
        """Marks of a matrix product, of features with weights, which makes features, or of features with features."""
        inputs, equation = call.inputs, next(iter(call.args), None)
        if len(inputs) != 2 or output.dim() < 2:
            return None
        if isinstance(equation, str):
            return self._einsum(equation.replace(" ", ""), inputs)
        are_weights = [each not in self._marks and each.dim() == 2 for each in inputs]
        if any(are_weights):
            return None if all(are_weights) else self._made([output], -1 if are_weights[1] else -2)[0]
        if len({output.dim(), *(each.dim() for each in inputs)}) > 1:
            return None
        left, right = (self._marks.get(each, (False,) * each.dim()) for each in inputs)
        found = (*(each or other for each, other in zip(left[:-2], right[:-2], strict=True)), left[-2], right[-1])
        return found if any(found) else None

    def _einsum(self, equation: str, inputs: list[Tensor]) -> Marks | None:
        """Marks of the letters that only weights have, else of those that hold channels of the features."""
        terms, _, letters = equation.partition("->")
        of_features = [(term, self._marks.get(each)) for term, each in zip(terms.split(","), inputs, strict=True)]
        known = [(term, marks) for term, marks in of_features if marks is not None]
        if not letters or "." in equation or not known:
            return None
        made = {letter for letter in letters if all(letter not in term for term, _ in known)}
        marked = made or {letter for term, marks in known for letter, mark in zip(term, marks, strict=True) if mark}
        found = tuple(letter in marked for letter in letters)
        return found if any(found) else None


class _Call:
    """A call of a function as it was made; what works in place changes the shape of its argument later."""

    def __init__(self, func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.func, self.args, self.named = func, args, named
        self.name = getattr(func, "__name__", "").strip("_")
        self.inputs = list(_tensors((args, *named.values())))
        self._shapes = {id(each): each.shape for each in self.inputs}

    def shape_of(self, tensor: Tensor) -> torch.Size:
        """The shape that an input had before the call."""
        return self._shapes[id(tensor)]

    @property
    def normalized_axes(self) -> int:
        """How many axes at the end a normalization goes over."""
        shape = self.named.get("normalized_shape", self.args[1] if len(self.args) > 1 else ())
        return len(shape) if isinstance(shape, tuple | list) else 1


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    """The tensors among values, and in lists and tuples among them, each in its order."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def _single(tensor: Tensor, axis: int) -> Marks:
    return tuple(place == axis for place in range(tensor.dim()))


def _only_axis(shape: Sequence[int], marks: Marks) -> int | None:
    """The one axis that holds all channels, or None."""
    found = [axis for axis, is_marked in enumerate(marks) if is_marked]
    longer = [axis for axis in found if shape[axis] > 1] or found
    return longer[0] if len(longer) == 1 else None


def _reshaped(before: Sequence[int], marks: Marks, after: Sequence[int]) -> Marks | None:
    """Marks behind a reshape; None where channels were joined with what is none."""
    found = [False] * len(after)
    at_before, at_after = 0, 0
    while at_before < len(before) and at_after < len(after):
        # The smallest groups of axes that hold the same values.
        start_before, start_after = at_before, at_after
        size, wanted = before[at_before], after[at_after]
        at_before, at_after = at_before + 1, at_after + 1
        while size != wanted:
            if size < wanted and at_before < len(before):
                size, at_before = size * before[at_before], at_before + 1
            elif size > wanted and at_after < len(after):
                wanted, at_after = wanted * after[at_after], at_after + 1
            else:
                return None
        group = {marks[axis] for axis in range(start_before, at_before) if before[axis] > 1}
        if len(group) > 1:
            return None
        for axis in range(start_after, at_after):
            found[axis] = group == {True} and after[axis] > 1
    return tuple(found) if any(found) else None


def _moved(call: _Call, tensor: Tensor, marks: Marks) -> list[Marks | None]:
    """Marks behind a function that moves axes, seen on a view whose stride is 0 along all but those of channels."""
    shape, strides = call.shape_of(tensor), [int(is_marked) for is_marked in marks]
    length = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    view = torch.empty(length, device="meta").as_strided(shape, strides)
    positional = [view if each is tensor else each for each in call.args]
    named = {key: view if each is tensor else each for key, each in call.named.items()}
    try:
        moved = call.func(*positional, **named)
    except RuntimeError:  # As an index by a mask, whose result has no shape without values.
        return []
    found = [tuple(stride != 0 for stride in each.stride()) for each in _tensors((moved,))]
    return [None if all(each) else each for each in found]  # All: it was copied, and has strides of its own.


def _reduced(call: _Call, marks: Marks, output: Tensor) -> Marks | None:
    axes = call.named.get("dim", call.named.get("axis", call.args[1] if len(call.args) > 1 else None))
    gone = {axis % len(marks) for axis in (axes if isinstance(axes, tuple | list) else (axes,)) if axis is not None}
    left = tuple(is_marked for axis, is_marked in enumerate(marks) if axis not in gone)
    return left if len(left) == output.dim() and any(left) else None


def _carried(call: _Call, known: Sequence[tuple[Tensor, Marks]], outputs: list[Tensor]) -> list[Marks | None]:
    """Marks of outputs that hold the channels of an input, whose marks are known."""
    tensor, marks = known[0]
    if call.name in _RESHAPES:
        return [_reshaped(call.shape_of(tensor), marks, each.shape) for each in outputs]
    if call.name in _MOVES or call.func in _TRANSPOSED_ATTRIBUTES:
        moved = _moved(call, tensor, marks)
        if len(moved) == len(outputs) and all(each is not None for each in moved):
            return moved
    if call.name in _REDUCTIONS and outputs[0].dim() < len(marks):
        return [_reduced(call, marks, each) for each in outputs]
    # Else those of an input of the output's own shape, or of one with as many axes.
    found = []
    for output in outputs:
        alike = [theirs for each, theirs in known if call.shape_of(each) == output.shape]
        found.append(next(iter(alike + [theirs for _, theirs in known if len(theirs) == output.dim()]), None))
    return found
