"""What a data set is, what reading it gives, and the simplest data set: arrays in memory or in their file."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from psi_core.engine.images.npz_rows import NpzRows, heading
from psi_core.engine.images.waiting import awaited
from psi_core.files import middle

Pixels = NDArray[np.uint8] | NDArray[np.float32]
"""Images (image, height, width) or (image, height, width, channel): bytes, or float32 in 0..1."""

NO_PARTNER = "it has no partner"
"""Why an image attacked elsewhere cannot be read where there is none for the benign one."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An image that could not be read.

    Attributes:
        position: in the data set.
        place: its file.
        reason: what was wrong with it.
    """

    position: int
    place: str
    reason: str


Digest = tuple[int, bytes]
"""How many bytes an image is stored in, and SHA-256 of some or all of them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Some images of a data set.

    Attributes:
        pixels: pixels of the images that could be read, in the order asked for.
        unreadable: the others.
    """

    pixels: Pixels
    unreadable: tuple[Unreadable, ...] = ()


class Dataset(Protocol):
    """Images with labels."""

    @property
    def name(self) -> str:
        """Its name in the run's configuration."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class numbers (image,)."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One per class."""

    def __len__(self) -> int:
        """How many images there are."""

    def read(self, positions: NDArray[np.int64], size: int, channels: int) -> Reading:
        """Images at these positions.

        Args:
            positions: in the data set.
            size: size of the network's input, to which pictures of files are brought; arrays keep their own.
            channels: channels of the network's input; likewise.
        """

    @property
    def fingerprint(self) -> str:
        """SHA-256 that changes with the data set: of all of it, or of files' names and labels."""

    def digests(self, positions: NDArray[np.int64], most: int | None = None) -> Sequence[Digest | None] | None:
        """Length and SHA-256 of what is stored of images, undecoded; None where that is another library's.

        Args:
            positions: in the data set.
            most: how many bytes of each, from its middle; None for all. None stands for an image that cannot be read.
        """

    def place_of(self, position: int) -> str:
        """Name of one image for people: its file, or its position."""

    def with_classes(self, labels: NDArray[np.int64], class_names: tuple[str, ...]) -> "Dataset":
        """The same images under other class numbers."""


@dataclass(frozen=True, slots=True)
class ArrayDataset:
    """Images as an array in memory, or as rows of an archive.

    Attributes:
        name: as the run's configuration names it.
        images: bytes, or float32 in 0..1; (image, height, width), or (image, height, width, channel).
        labels: int64 (image,).
        class_names: one per class.
        keys: what images are paired by, (image,); None for their positions.
    """

    name: str
    images: Pixels | NpzRows
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    keys: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def read(self, positions: NDArray[np.int64], size: int, channels: int) -> Reading:
        """Images at these positions, at their own size."""
        return Reading(rows_of(self.images, positions))

    def digests(self, positions: NDArray[np.int64], most: int | None = None) -> list[Digest]:
        """Length and SHA-256 of images at these positions."""
        if isinstance(self.images, NpzRows):
            archive = self.images
            return awaited(lambda: _digested(archive.stored(positions, most)), str(archive.path))
        rows = (np.ascontiguousarray(self.images[position]).tobytes() for position in positions.tolist())
        return _digested((len(row), row[middle(len(row), most)]) for row in rows)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all images and labels."""
        return fingerprint_of(self.images, self.labels)

    def place_of(self, position: int) -> str:
        """Name of one image for people."""
        return f"image {position}"

    def with_classes(self, labels: NDArray[np.int64], class_names: tuple[str, ...]) -> "ArrayDataset":
        """The same images under other class numbers."""
        return replace(self, labels=labels, class_names=class_names)


def _digested(stored: Iterable[tuple[int, bytes]]) -> list[Digest]:
    return [(length, hashlib.sha256(part).digest()) for length, part in stored]


def rows_of(images: Pixels | NpzRows, rows: NDArray[np.int64]) -> Pixels:
    """Images at these rows; of an archive that a disk holds they are waited for no longer than a picture would be.

    Raises:
        DataError: they cannot be read any more.
    """
    return awaited(lambda: images[rows], str(images.path)) if isinstance(images, NpzRows) else images[rows]


def fingerprint_of(images: Pixels | NpzRows, *others: NDArray[np.generic]) -> str:
    """SHA-256 over shapes, types and bytes of arrays, in hexadecimal."""
    digest, arrays = hashlib.sha256(), others
    if isinstance(images, NpzRows):
        digest = awaited(images.digest, str(images.path))
    else:
        arrays = (images, *others)
    for array in arrays:
        digest.update(heading(array.shape, array.dtype))
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


_GLANCE_BYTES = 4096
"""Bytes from the middle of images that are compared first: few that differ have these alike."""


def copies_among(dataset: Dataset, positions: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Positions of the images that are stored byte for byte as another of them, ascending.

    Whole images are read only where length and middle are those of another. None where another library stores them.

    Raises:
        DataError: their archive cannot be read any more.
    """
    alike = positions
    for most in (_GLANCE_BYTES, None):
        digests = dataset.digests(alike, most)
        if digests is None:
            return None
        counts = Counter(digests)
        alike = alike[[each is not None and counts[each] > 1 for each in digests]]
    return alike
