"""Max pooling on a CPU by whole rows: what torch takes ten times as long for, where it can take no several at once.

Torch's own looks for the place of every maximum, which a gradient needs, and takes several channels at once only where
they lie beside each other and are many. Without a gradient, the larger one of two rows of numbers is enough.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from psi_core.engine.stand_ins.arguments import pair
from psi_core.engine.stand_ins.onlookers import is_transformed

_USUAL: Callable[..., Any] = F.max_pool2d

_FEW_CHANNELS = 32
"""Up to so many channels beside each other, torch's own is the slower one."""


def max_pool2d(
    input: Tensor,  # noqa: A002 (torch's name)
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """As `torch.nn.functional.max_pool2d`: the same numbers, in the same order in memory."""
    kernel, step = pair(kernel_size), pair(stride or kernel_size)
    is_simple = pair(padding) == (0, 0) and pair(dilation) == (1, 1) and not (ceil_mode or return_indices)
    layout = _layout(input) if is_simple and min(kernel) > 1 else None
    if layout is None or any(size < width for size, width in zip(input.shape[2:], kernel, strict=True)):
        return _USUAL(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    largest = input
    for dim in (2, 3):
        largest = _largest(largest, dim, kernel[dim - 2], step[dim - 2], layout)
    return largest


def _layout(images: Tensor) -> torch.memory_format | None:
    """How images lie that are worth it; None for others."""
    if images.dim() != 4 or images.device.type != "cpu" or not images.is_floating_point() or is_transformed():
        return None
    if (images.requires_grad and torch.is_grad_enabled()) or 1 in images.shape:
        return None  # With one channel or one row, both layouts have the same strides.
    if images.is_contiguous():
        return torch.contiguous_format
    is_narrow = images.shape[1] <= _FEW_CHANNELS and images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_narrow else None


def _largest(images: Tensor, dim: int, width: int, step: int, layout: torch.memory_format) -> Tensor:
    """The largest of `width` numbers along a dimension, every `step`."""
    shape = list(images.shape)
    shape[dim] = (shape[dim] - width) // step + 1
    reach = (shape[dim] - 1) * step + 1
    first, *others = (
        images.narrow(dim, start, reach)[(slice(None),) * dim + (slice(None, None, step),)] for start in range(width)
    )
    found = torch.empty(shape, dtype=images.dtype, memory_format=layout)
    for other in others:
        first = torch.maximum(first, other, out=found)
    return found
