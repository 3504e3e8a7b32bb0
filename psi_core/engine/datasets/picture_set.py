"""A data set of pictures that are decoded when they are asked for."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from psi_core.decoder import UNREADABLE, pixels_of, reason_of
from psi_core.engine.datasets.dataset import NO_PARTNER, Pixels, Reading, Unreadable, fingerprint_of
from psi_core.engine.datasets.decoder_pool import decoders
from psi_core.engine.devices import usable_cores

_MOST_THREADS = 16


@dataclass(frozen=True, slots=True)
class PictureDataset:
    """Pictures of any size: files, decoded by processes of their own, or what another library opens, by threads.

    Attributes:
        name: as the run's configuration names it.
        labels: int64 (image,).
        class_names: one per class.
        pictures: path of the file at every position, None where there is none; or a function that gives the picture at
            a position, and raises where it cannot.
        places: name of every picture for people: its path below the folder.
        resize: shorter edge before the center is cut out, or None for the network's input size.
        keeps_input_size: whether a picture of the network's input size is left as it is, whatever `resize` says.
    """

    name: str
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    pictures: tuple[str | None, ...] | Callable[[int], Image.Image]
    places: tuple[str, ...]
    resize: int | None
    keeps_input_size: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, positions: NDArray[np.int64], size: int, channels: int) -> Reading:
        """Pictures at these positions: bytes (image, size, size), with 3 channels behind for a network with color."""
        pixels, reasons = (self._files if isinstance(self.pictures, tuple) else self._opened)(positions, size, channels)
        unreadable = (
            Unreadable(int(position), self.place_of(int(position)), reason)
            for position, reason in zip(positions, reasons, strict=True)
            if reason is not None
        )
        return Reading(pixels, tuple(unreadable))

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

    def _files(self, positions: NDArray[np.int64], size: int, channels: int) -> tuple[Pixels, list[str | None]]:
        assert isinstance(self.pictures, tuple), "asked only for files"
        files = [self.pictures[position] for position in positions]
        there = [file for file in files if file is not None]
        pixels, found = decoders().decode(there, size, channels, self.resize, keeps_input_size=self.keeps_input_size)
        reasons = iter(found)
        return pixels, [NO_PARTNER if file is None else next(reasons) for file in files]

    def _opened(self, positions: NDArray[np.int64], size: int, channels: int) -> tuple[Pixels, list[str | None]]:
        opened = self.pictures
        assert not isinstance(opened, tuple), "asked only for what another library opens"

        def decode(position: int) -> NDArray[np.uint8] | str:
            try:
                with opened(position) as image:
                    return pixels_of(image, size, channels, self.resize, keeps_input_size=self.keeps_input_size)
            except UNREADABLE as error:
                return reason_of(error)

        found = list(_threads().map(decode, positions.tolist()))
        pixels = [one for one in found if not isinstance(one, str)]
        empty = np.zeros((0, size, size, *((channels,) if channels > 1 else ())), np.uint8)
        return np.stack(pixels) if pixels else empty, [one if isinstance(one, str) else None for one in found]


@cache
def _threads() -> ThreadPoolExecutor:
    """Pillow lets go of Python while it decodes and resizes."""
    return ThreadPoolExecutor(min(_MOST_THREADS, usable_cores()), "decoder")
