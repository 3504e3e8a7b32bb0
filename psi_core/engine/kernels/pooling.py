"""Max pooling on a GPU, each response read from memory about once: torch's own also notes where every maximum lay.

Only a gradient needs these places. Without them, and with windows that share what they read, it takes a quarter of the
time. With torch's own, pooling is a seventh of all that AlexNet computes in 16 bits, and a fifth in VGG11.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from psi_core.engine.kernels.launching import LARGEST_GRID, launch

_POSITIONS, _CHANNELS = 32, 64
"""Positions and channels of a tile of the output."""


@triton.jit
def _pool_tiles(
    images,
    pooled,
    rows,
    columns,
    channels,
    pooled_rows,
    pooled_columns,
    window_rows: tl.constexpr,
    window_columns: tl.constexpr,
    step_rows: tl.constexpr,
    step_columns: tl.constexpr,
    margin_rows: tl.constexpr,
    margin_columns: tl.constexpr,
    high: tl.constexpr,
    wide: tl.constexpr,
):
    """The largest of each window of one tile, of one image; NaN where there is one, as torch has it."""
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * high + tl.arange(0, high)
    c = tl.program_id(2) * wide + tl.arange(0, wide)
    in_channels = (c < channels)[None, :]
    here = p < pooled_rows * pooled_columns
    top = (p // pooled_columns) * step_rows - margin_rows
    left = (p % pooled_columns) * step_columns - margin_columns
    largest = tl.full([high, wide], float("-inf"), tl.float32)
    for down in tl.static_range(window_rows):
        for across in tl.static_range(window_columns):
            y, x = top + down, left + across
            is_inside = here & (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
            at = ((n * rows + y.to(tl.int64)) * columns + x)[:, None] * channels + c[None, :]
            mask = is_inside[:, None] & in_channels
            v = tl.load(images + at, mask=mask, other=float("-inf")).to(tl.float32)
            largest = tl.where((v > largest) | (v != v), v, largest)  # noqa: PLR0124 (NaN alone is not itself)
    to = (n * pooled_rows * pooled_columns + p.to(tl.int64))[:, None] * channels + c[None, :]
    tl.store(pooled + to, largest.to(pooled.dtype.element_ty), mask=here[:, None] & in_channels)


def fits(images: Tensor) -> bool:
    """Whether the kernel reads such a layer: (batch, channel, y, x), its channels last in memory, of 32 or 16 bits."""
    return (
        images.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and images.dim() == 4
        and images.numel() > 0
        and 1 not in images.shape[1:]  # Both layouts have the same strides then, and torch's own gives the plain one.
        and images.is_contiguous(memory_format=torch.channels_last)
        # A margin is at most half a window: there is no more than one window beyond the responses of a row.
        and math.prod(length + 1 for length in images.shape[2:]) <= _POSITIONS * LARGEST_GRID
        and images.shape[1] <= _CHANNELS * LARGEST_GRID
    )


def max_pool(images: Tensor, window: tuple[int, int], step: tuple[int, int], margin: tuple[int, int]) -> Tensor:
    """The largest of every window, (batch, channel, y, x), its channels last.

    Args:
        images: as `fits` wants them.
        window: rows and columns of a window.
        step: rows and columns from one window to the next.
        margin: rows and columns of nothing before the first response and after the last; at most half a window.
    """
    count, channels, *size = images.shape
    rows, columns = (
        (length + 2 * around - width) // stride + 1
        for length, width, stride, around in zip(size, window, step, margin, strict=True)
    )
    pooled = torch.empty(
        (count, channels, rows, columns),
        dtype=images.dtype,
        device=images.device,
        memory_format=torch.channels_last,
    )
    wide = min(_CHANNELS, triton.next_power_of_2(channels))
    high = min(_POSITIONS, triton.next_power_of_2(rows * columns))
    grid = (count, triton.cdiv(rows * columns, high), triton.cdiv(channels, wide))
    launch(_pool_tiles, grid, images, pooled, *size, channels, rows, columns, *window, *step, *margin, high, wide)
    return pooled


def is_right_on(device: torch.device) -> bool:
    """Whether small examples give torch's numbers on a device, in 32 and 16 bits."""
    numbers = torch.linspace(-7, 7, 2 * 13 * 11 * 64, dtype=torch.float32, device=device).sin()
    images = numbers.view(2, 13, 11, 64).permute(0, 3, 1, 2)
    return all(
        torch.equal(max_pool(each, (3, 3), (2, 2), (1, 1)), F.max_pool2d(each, (3, 3), (2, 2), (1, 1)))
        for each in (images, images.bfloat16())
    )
