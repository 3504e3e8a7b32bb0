"""Bilinear and bicubic interpolation inside a network on a GPU, with a gradient that has the same bits each time.

Torch's own adds what an output's pixels give back to those of the input as threads come, in another order each time.
Here rows, then columns are joined by two matrix products. Their matrices are torch's own numbers: what it makes of
lines of a single 1.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from psi_core.engine.stand_ins.onlookers import keeps_otherwise

_DEVICES = ("cuda",)
"""Where torch's own adds in any order."""

_FUNCTIONS: Mapping[tuple[str, bool], Callable[..., Any]] = {
    ("bilinear", False): torch.ops.aten.upsample_bilinear2d,
    ("bilinear", True): torch.ops.aten._upsample_bilinear2d_aa,
    ("bicubic", False): torch.ops.aten.upsample_bicubic2d,
    ("bicubic", True): torch.ops.aten._upsample_bicubic2d_aa,
}
"""What torch computes, by mode and by whether it is antialiased."""


def interpolate(
    input: Tensor,  # noqa: A002 (torch's name)
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """As `torch.nn.functional.interpolate`, with the same bits; on a GPU the gradient has the same ones each time."""
    usual = input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias
    if (mode, bool(antialias)) in _FUNCTIONS and _is_wanted(input):
        interpolated: Tensor = _Interpolation.apply(*usual)
        return interpolated
    return F.interpolate(*usual)


def _is_wanted(images: Tensor) -> bool:
    """Whether a gradient of images is wanted that torch's own would add in any order."""
    has_gradient = torch.is_grad_enabled() and images.requires_grad
    is_taken = images.device.type in _DEVICES and images.dim() == 4 and images.is_floating_point()
    return has_gradient and is_taken and not keeps_otherwise()


class _Interpolation(torch.autograd.Function):
    """Torch's interpolation, with the gradient by matrix products."""

    @staticmethod
    def forward(
        context: Any,
        images: Tensor,
        size: Any,
        scale_factor: Any,
        mode: str,
        align_corners: bool | None,
        recompute_scale_factor: bool | None,
        antialias: bool,
    ) -> Tensor:
        # A factor counts only where torch does not make it anew from the sizes.
        factors = scale_factor if isinstance(scale_factor, tuple | list) else (scale_factor, scale_factor)
        context.factors = (None, None) if recompute_scale_factor else factors
        context.function, context.align_corners = _FUNCTIONS[mode, bool(antialias)], bool(align_corners)
        context.size, context.kind = images.shape[2:], images.dtype
        return F.interpolate(images, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        down, across = (
            _matrix(length, width, context.function, context.align_corners, factor, gradient)
            for length, width, factor in zip(context.size, gradient.shape[2:], context.factors, strict=True)
        )
        with torch.autocast(gradient.device.type, enabled=False):
            rows = torch.matmul(gradient.to(across.dtype), across)
            images = torch.matmul(rows.mT, down).mT
        is_last = gradient.is_contiguous(memory_format=torch.channels_last) and not gradient.is_contiguous()
        layout = torch.channels_last if is_last else torch.contiguous_format
        return images.to(context.kind).contiguous(memory_format=layout), *(None,) * 6


def _matrix(
    length: int, width: int, function: Callable[..., Any], align_corners: bool, factor: float | None, like: Tensor
) -> Tensor:
    """How a line of so many pixels becomes one of another width, (width, length), float32, or float64 for float64."""
    kind = torch.float64 if like.dtype == torch.float64 else torch.float32
    # Each column is a line of a single 1, and stays apart: one that keeps its width is only copied.
    lines = torch.eye(length, dtype=kind, device=like.device)
    matrix: Tensor = function(lines[None, None], [width, length], align_corners, factor, None)[0, 0]
    return matrix
