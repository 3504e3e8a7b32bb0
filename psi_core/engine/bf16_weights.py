"""Weights in bfloat16, converted once.

Autocast converts what a product is given at every call, frozen weights too: half a gigabyte in each forward of VGG11,
an eighth of its time at 64 px on a CPU. Here the converted ones are kept; the bits are the same.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_PRODUCTS: frozenset[Callable[..., Any]] = frozenset(
    {torch.conv1d, torch.conv2d, torch.conv3d, F.linear, F.multi_head_attention_forward}
)
"""Functions whose weights autocast converts before anything is computed, on each kind of device."""


class Bf16Weights:
    """The weights of one network in bfloat16, each made when it is first needed."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[nn.Parameter, int, int, Tensor]] = {}

    def in_use(self, device: torch.device) -> AbstractContextManager[object]:
        """Within the block products take the kept weights, wherever autocast would convert these.

        Args:
            device: where the network is.
        """
        return _InUse(self, device.type) if _converts(device.type) else nullcontext()

    def __call__(self, value: Any) -> Any:
        """What a product is to be given in a value's place: the value itself if it is no frozen float32 weight."""
        if not isinstance(value, nn.Parameter) or value.requires_grad or value.dtype != torch.float32:
            return value
        stamp = value.data_ptr(), value._version
        weight, *stamp_then, converted = self._kept.get(id(value), (None, 0, 0, value))
        if weight is value and tuple(stamp_then) == stamp:
            return converted
        # Outside inference mode, or no later gradient could go through it.
        with torch.inference_mode(False), torch.no_grad():
            converted = value.detach().to(torch.bfloat16)
        if type(converted) is Tensor:  # Not one that only stands for numbers, as a compiler has.
            self._kept[id(value)] = (value, *stamp, converted)
        return converted


class _InUse(TorchFunctionMode):
    """Hands kept weights to products."""

    def __init__(self, weights: Bf16Weights, kind: str) -> None:
        super().__init__()
        self._weights = weights
        self._kind = kind

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the function; a product gets its weights in bfloat16."""
        named = kwargs or {}
        # A network may turn autocast off for a part of itself.
        if func in _PRODUCTS and _converts(self._kind):
            args = tuple(self._weights(each) for each in args)
            named = {name: self._weights(each) for name, each in named.items()}
        return func(*args, **named)


def _converts(kind: str) -> bool:
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
