"""From pixels as they are stored to what a network takes: float32 of its size and channels."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from psi_core.devices import Device
from psi_core.engine.images.dataset import Reading, Unreadable
from psi_core.errors import DataError

_LUMINANCE = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in gray (ITU-R BT.601), as Pillow takes them."""


def network_inputs(pixels: Tensor, size: int, channels: int) -> Tensor:
    """Pixels as a network takes them, float32 (batch, channels, size, size) in 0..1.

    Bytes are divided by 255. All are resized bilinearly (antialiased when shrinking); gray is replicated to the
    channels wanted, color becomes luminance for a network that takes gray.

    Args:
        pixels: uint8, or float32 in 0..1; (batch, height, width) or (batch, height, width, channel), where the network
            runs.
        size: size of the network's input, in pixels.
        channels: channels that the network's first layer takes.
    """
    images = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2)
    inputs = images.float().div_(255) if pixels.dtype == torch.uint8 else images.float().clone()
    if inputs.shape[-2:] != (size, size):
        inputs = F.interpolate(inputs, (size, size), mode="bilinear", align_corners=False, antialias=True).clamp_(0, 1)
    if inputs.shape[1] == 1 and channels > 1:
        inputs = inputs.expand(-1, channels, -1, -1)
    elif inputs.shape[1] == 3 and channels == 1:
        shares = torch.tensor(_LUMINANCE, dtype=torch.float32).to(inputs.device, non_blocking=True).view(1, 3, 1, 1)
        inputs = (inputs * shares).sum(1, keepdim=True).clamp_(0, 1)
    return inputs.contiguous(memory_format=torch.channels_last)


class Readable(Protocol):
    """What images can be read from by position: a data set, or images attacked elsewhere."""

    def read(self, positions: NDArray[np.int64], size: int, channels: int) -> Reading:
        """Images at these positions."""


def read_inputs(dataset: Readable, positions: NDArray[np.int64], size: int, channels: int, device: Device) -> Tensor:
    """Images of a data set as a network takes them, on its device.

    Raises:
        DataError: one of them cannot be read.
    """
    reading = dataset.read(positions, size, channels)
    if reading.unreadable:
        raise unreadable_error(reading.unreadable[0])
    return network_inputs(torch.from_numpy(reading.pixels).to(device, non_blocking=True), size, channels)


def unreadable_error(found: Unreadable) -> DataError:
    """What stops a run at an image that cannot be read."""
    return DataError(
        f"data: {found.place} (image {found.position}) cannot be read ({found.reason}); "
        "mend or remove it, or add --skip-unreadable"
    )
