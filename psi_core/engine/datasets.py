"""Data sets: their images as unsigned bytes, and how these become what a network takes."""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from psi_core.errors import DataError
from psi_core.paths import PACKAGE_DATA

_IDX_UNSIGNED_BYTE = b"\x08"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images with labels, whole in memory.

    Attributes:
        name: as the run's configuration names it.
        images: uint8 (image, height, width), or (image, height, width, channel).
        labels: int64 (image,).
        class_names: one per class.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


def load_dataset(name: str, split: str) -> Dataset:
    """The data set `name`, its `test` or `train` part.

    Raises:
        DataError: its files are damaged.
    """
    part = {"test": "t10k", "train": "train"}[split]
    folder = PACKAGE_DATA / "mnist"
    images = _read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = _read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)
    return Dataset(name, images, labels, tuple(str(digit) for digit in range(10)))


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """An array of unsigned bytes from a gzipped IDX file."""
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); install psi-tui again") from None
    start = 4 + 4 * data[3] if len(data) > 3 else 4
    shape = tuple(int.from_bytes(data[place : place + 4], "big") for place in range(4, start, 4))
    if data[2:3] != _IDX_UNSIGNED_BYTE or len(data) - start != math.prod(shape):
        raise DataError(f"{path}: not an IDX file of unsigned bytes; install psi-tui again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def first_images(dataset: Dataset, images: int | None) -> int:
    """How many images a run takes: the first `images` in dataset order, or all.

    Raises:
        DataError: there are fewer.
    """
    if images is not None and images > len(dataset):
        raise DataError(f"images: {dataset.name} has {len(dataset)} images, not {images}; write at most {len(dataset)}")
    return len(dataset) if images is None else images


def network_inputs(pixels: Tensor, size: int, channels: int) -> Tensor:
    """Pixels as a network takes them, float32 (batch, channels, size, size) in 0..1.

    Divided by 255, resized bilinearly (antialiased when shrinking), gray replicated to the channels wanted.

    Args:
        pixels: uint8 (batch, height, width) or (batch, height, width, channel), where the network runs.
        size: of the network's input, in pixels.
        channels: that the network's first layer takes.
    """
    images = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2)
    inputs = images.float().div_(255)
    if inputs.shape[-2:] != (size, size):
        inputs = F.interpolate(inputs, (size, size), mode="bilinear", align_corners=False, antialias=True).clamp_(0, 1)
    if inputs.shape[1] == 1 and channels > 1:
        inputs = inputs.expand(-1, channels, -1, -1)
    return inputs.contiguous(memory_format=torch.channels_last)
