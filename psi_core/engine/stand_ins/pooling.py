"""Max pooling without the places of the maxima, which only a gradient needs: on a GPU a kernel, on a CPU by whole rows.

On a CPU torch's own takes ten times as long where it cannot take several channels at once, which it does only where
they lie beside each other and are many. The larger one of two rows of numbers is enough.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from psi_core.engine.kernels import kernels_for
from psi_core.engine.stand_ins.arguments import pair
from psi_core.engine.stand_ins.onlookers import is_transformed

_LARGEST_WINDOW = 16
"""Responses of a window that a GPU's kernel takes: it is written out for each, and compiled when it is first used."""

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
    usual = input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    is_stepped = stride is not None and not (isinstance(stride, tuple | list) and not stride)
    kernel, step, margin = pair(kernel_size), pair(stride if is_stepped else kernel_size), pair(padding)
    if pair(dilation) != (1, 1) or ceil_mode or return_indices or not _is_plain(input):
        return _USUAL(*usual)
    if kernel is None or step is None or margin is None or not _fits(input, kernel, step, margin):
        return _USUAL(*usual)
    kernels = kernels_for(input, "pooling") if math.prod(kernel) <= _LARGEST_WINDOW else None
    if kernels is not None and kernels.fits(input):
        return kernels.max_pool(input, kernel, step, margin)
    layout = _layout(input) if margin == (0, 0) and min(kernel) > 1 else None
    if layout is None:
        return _USUAL(*usual)
    largest = input
    for dim in (2, 3):
        largest = _largest(largest, dim, kernel[dim - 2], step[dim - 2], layout)
    return largest


def _is_plain(images: Tensor) -> bool:
    """Whether nobody but the caller asks for more than the maxima."""
    has_gradient = images.requires_grad and torch.is_grad_enabled()
    return images.dim() == 4 and images.is_floating_point() and not (has_gradient or is_transformed())


def _fits(images: Tensor, kernel: tuple[int, int], step: tuple[int, int], margin: tuple[int, int]) -> bool:
    """Whether a window lies inside, and torch has nothing to refuse."""
    sizes = zip(images.shape[2:], kernel, step, margin, strict=True)
    return all(
        width > 0 and by > 0 and 0 <= 2 * around <= width <= size + 2 * around for size, width, by, around in sizes
    )


def _layout(images: Tensor) -> torch.memory_format | None:
    """How images lie on a CPU that are worth it; None for others."""
    if images.device.type != "cpu" or 1 in images.shape:
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
