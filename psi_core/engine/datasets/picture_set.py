"""A data set of pictures that are decoded when they are asked for."""

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from psi_core.engine.datasets.dataset import Reading, Unreadable, fingerprint_of
from psi_core.engine.datasets.decoding import decoded
from psi_core.engine.devices import usable_cores

_MOST_DECODERS = 16

_UNREADABLE = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, OverflowError, LookupError, MemoryError, AttributeError),
    *(struct.error, Image.DecompressionBombError),
)
"""What Pillow raises over a damaged file; SyntaxError over a broken PNG, the last ones over hostile TIFF and JPEG."""


@dataclass(frozen=True, slots=True)
class PictureDataset:
    """Pictures of any size, decoded by several threads: Pillow lets go of Python while it decodes and resizes.

    Attributes:
        name: as the run's configuration names it.
        labels: int64 (image,).
        class_names: one per class.
        opened: gives the picture at a position, lazily or whole; raises where it cannot.
        places: name of every picture for people: its path below the folder.
        resize: shorter edge before the center is cut out, or None for the network's input size.
        keeps_input_size: whether a picture of the network's input size is left as it is, whatever `resize` says.
    """

    name: str
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    opened: Callable[[int], Image.Image]
    places: tuple[str, ...]
    resize: int | None
    keeps_input_size: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, positions: NDArray[np.int64], size: int, channels: int) -> Reading:
        """Pictures at these positions: bytes (image, size, size), with 3 channels behind for a network with color."""

        def decode(position: int) -> NDArray[np.uint8] | Unreadable:
            try:
                with self.opened(position) as image:
                    is_ready = self.keeps_input_size and image.size == (size, size)
                    return decoded(image, size, channels, None if is_ready else self.resize)
            except _UNREADABLE as error:
                reason = str(error).partition("\n")[0] or type(error).__name__
                return Unreadable(position, self.place_of(position), reason)

        found = list(_decoders().map(decode, positions.tolist()))
        pixels = [one for one in found if not isinstance(one, Unreadable)]
        empty = np.zeros((0, size, size, *((channels,) if channels > 1 else ())), np.uint8)
        return Reading(
            np.stack(pixels) if pixels else empty, tuple(one for one in found if isinstance(one, Unreadable))
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the pictures' names and labels; the files themselves are not read."""
        return fingerprint_of(np.frombuffer("\n".join(self.places).encode(), np.uint8), self.labels)

    def place_of(self, position: int) -> str:
        """Name of one picture for people."""
        return self.places[position]

    def with_classes(self, labels: NDArray[np.int64], class_names: tuple[str, ...]) -> "PictureDataset":
        """The same pictures under other class numbers."""
        return replace(self, labels=labels, class_names=class_names)


@cache
def _decoders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(_MOST_DECODERS, usable_cores()), "decoder")
