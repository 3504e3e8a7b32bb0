"""A network's first convolution on a CPU: its gradient with respect to the image, up to eight times as fast as torch's.

That gradient has one channel or three, and torch computes as many numbers at once as there are channels. Here a block
of pixels is computed at once: its pixels stand as channels of a convolution over the blocks, and are put in their
places afterwards. The products that are added are the same; their order is not, so that the last bits differ.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from psi_core.engine.stand_ins.arguments import pair
from psi_core.engine.stand_ins.onlookers import keeps_otherwise

_NUMBERS_AT_ONCE = 16
"""Of a block about so many are computed, all channels of all its pixels: float32 numbers in a wide register."""

_FEW_OUTPUTS = 16
"""Below so many channels of the output, torch convolves faster where channels do not lie beside each other."""

_PAYING_OUTPUTS = 32
"""From so many channels of the output, blocks pay for small kernels over colors too."""


def conv2d(
    input: Tensor,  # noqa: A002 (torch's name)
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """As `torch.conv2d`, with the same bits; the gradient of images of few channels is computed by blocks of pixels."""
    step, margin = pair(stride), pair(padding)
    is_simple = groups == 1 and pair(dilation) == (1, 1)
    if step is None or margin is None or not (is_simple and _pays(input, weight, bias, step)):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    convolved: Tensor = _Convolution.apply(input, weight, bias, step, margin)
    return convolved


def _pays(images: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int]) -> bool:
    """Whether a gradient is wanted, of the images alone, and blocks of pixels are faster."""
    if not (torch.is_grad_enabled() and images.requires_grad) or weight.requires_grad:
        return False
    if images.dim() != 4 or images.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    if images.dtype != torch.float32 or weight.dtype != torch.float32 or (bias is not None and bias.requires_grad):
        return False
    if keeps_otherwise():
        return False
    outputs, channels, *kernel = weight.shape
    if not 0 < channels <= _NUMBERS_AT_ONCE // 4 or min(kernel) < 3:
        return False
    return channels == 1 or min(kernel) > 3 or (stride == (1, 1) and outputs >= _PAYING_OUTPUTS)


class _Convolution(torch.autograd.Function):
    """Torch's convolution, with the gradient by blocks."""

    @staticmethod
    def forward(
        context: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        context.save_for_backward(weight)
        context.size, context.stride, context.padding = images.shape[2:], stride, padding
        return torch.conv2d(images, weight, bias, stride, padding)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,) = context.saved_tensors
        images = gradient_of_images(gradient, weight, context.size, context.stride, context.padding)
        return images, None, None, None, None


def gradient_of_images(
    gradient: Tensor, weight: Tensor, size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """The gradient of a convolution's images from that of its output, float32 (batch, channel, *size), channels last.

    Args:
        gradient: float32 (batch, output, y, x).
        weight: float32 (output, channel, *kernel).
        size: height and width of the images.
        stride: step of the convolution, down and across.
        padding: rows and columns of zeros around the images.
    """
    side = math.isqrt(_NUMBERS_AT_ONCE // weight.shape[1])
    steps = [max(1, side // each) for each in stride]  # How many places of the kernel a block reaches over.
    block = [number * each for number, each in zip(steps, stride, strict=True)]
    before = [(width - 1) // each for width, each in zip(weight.shape[2:], stride, strict=True)]
    layout = torch.contiguous_format if len(weight) < _FEW_OUTPUTS else torch.channels_last
    # Zeros behind the last row and column, so that the blocks reach over all that the kernel reached.
    rest = [-(length + reach) % number for length, reach, number in zip(gradient.shape[2:], before, steps, strict=True)]
    whole = F.pad(gradient, (0, rest[1], 0, rest[0])) if any(rest) else gradient
    blocks = torch.conv2d(
        whole.contiguous(memory_format=layout),
        _kernel_of_blocks(weight, stride, block, before).contiguous(memory_format=layout),
        stride=steps,
        padding=before,
    )
    images, channels = len(gradient), weight.shape[1]
    down, across = blocks.shape[2:]
    pixels = blocks.view(images, channels, *block, down, across).permute(0, 4, 2, 5, 3, 1)
    pixels = pixels.reshape(images, down * block[0], across * block[1], channels)
    # Without the padding, and with zeros where the kernel did not reach.
    ends = [start + length for start, length in zip(padding, size, strict=True)]
    missing = [max(0, end - length) for end, length in zip(ends, pixels.shape[1:3], strict=True)]
    found = pixels[:, padding[0] : ends[0], padding[1] : ends[1]]
    found = F.pad(found, (0, 0, 0, missing[1], 0, missing[0])) if any(missing) else found
    return found.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _kernel_of_blocks(weight: Tensor, stride: tuple[int, int], block: list[int], before: list[int]) -> Tensor:
    """The kernel that gives all pixels of a block, (channel x pixel, output, *places of the output)."""
    outputs, channels, height, width = weight.shape
    rows = _places(height, stride[0], block[0], before[0])
    columns = _places(width, stride[1], block[1], before[1])
    picked = F.pad(weight, (0, 1, 0, 1))[:, :, rows[:, :, None, None], columns[None, None]]
    kernel = picked.permute(1, 2, 4, 0, 3, 5)
    return kernel.reshape(channels * block[0] * block[1], outputs, rows.shape[1], columns.shape[1])


def _places(width: int, stride: int, block: int, before: int) -> Tensor:
    """Which number of the kernel joins a pixel of a block and a place of the output, int64 (pixel, place).

    It is `width`, the zero behind the kernel's last number, where none does.
    """
    places = torch.arange(block // stride + before) - before
    joining = torch.arange(block)[:, None] - stride * places
    return torch.where((joining >= 0) & (joining < width), joining, width)
