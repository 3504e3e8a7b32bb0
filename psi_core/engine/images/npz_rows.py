"""Images that stay in their archive: one pass checks them all, then rows are read when they are asked for.

Files are read and not mapped: a map's pages count as the process's own memory, and a file cut short under a map kills
the process.
"""

import hashlib
import itertools
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from psi_core.errors import DataError, reason_of
from psi_core.files import middle
from psi_core.npy import read_header

_BLOCK_BYTES = 1 << 23
"""Bytes that the pass over all images reads at a time; measured, 1 to 64 MB take the same time."""

_LOCAL_NAME_LENGTHS = 26
"""Offset, in a member's local header of 30 bytes, of the lengths of the two fields of variable length behind it."""


@dataclass(frozen=True, slots=True)
class NpzRows:
    """Images of an archive, in C order in its file; indexed by positions like an array in memory.

    It keeps no file open, so that it can be pickled, and read in several threads or processes at once.

    Attributes:
        path: absolute path of the archive.
        member: name of the array's file in the archive.
        crc: CRC-32 of the member, as the archive records it.
        start: offset of the member in the file, in bytes.
        header: bytes of the member before the first image.
        file_shape: the array's shape in the file.
        file_dtype: its type there.
        version: `file_version` of the file that was opened.
        channels_first: whether channels lie before height and width in the file.
        option: option that names the archive, for messages.
    """

    path: Path
    member: str
    crc: int
    start: int
    header: int
    file_shape: tuple[int, ...]
    file_dtype: np.dtype[Any]
    version: tuple[int, int]
    channels_first: bool = False
    option: str = "data"

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels last."""
        if not self.channels_first:
            return self.file_shape
        images, channels, height, width = self.file_shape
        return images, height, width, channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the images that are read: uint8, or float32 for floats of any size."""
        return self.file_dtype if self.file_dtype == np.uint8 else np.dtype(np.float32)

    def __len__(self) -> int:
        return self.file_shape[0]

    def __getitem__(self, positions: NDArray[np.int64]) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Images at these positions, channels last, as a view of a new array that has the order of the file.

        Raises:
            IndexError: there is no image at a position.
            DataError: the file is gone, or another than the one that was opened.
        """
        if len(positions) and not 0 <= positions.min() <= positions.max() < len(self):
            raise IndexError(f"positions lie between {positions.min()} and {positions.max()}, of {len(self)} images")
        found = np.empty((len(positions), *self.file_shape[1:]), self.dtype)
        borders = [0, *(np.flatnonzero(np.diff(positions) != 1) + 1).tolist(), len(positions)]
        with self.open() as file:
            for begin, end in itertools.pairwise(borders):
                if begin < end:
                    found[begin:end] = self.rows(file, int(positions[begin]), end - begin)
        return self.channels_last(found)

    def extremes(self) -> tuple[float, float]:
        """Smallest and largest value, from a pass over all images: NaN where there is one.

        Of bytes those of the first images, up to one with a value above 1.

        Raises:
            DataError: the file is damaged, gone, or another than the one that was opened.
        """
        _, low, high = _full_pass(self)
        return low, high

    def digest(self) -> "hashlib._Hash":
        """SHA-256 of shape, type and all images, from the same pass; `fingerprint_of` goes on with it."""
        return _full_pass(self)[0].copy()

    def stored(self, positions: NDArray[np.int64], most: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Length and bytes of images in the file: all, or at most so many from the middle.

        Raises:
            DataError: the file is gone, or another than the one that was opened.
        """
        length = self.file_dtype.itemsize * math.prod(self.file_shape[1:])
        part = middle(length, most)
        with self.open() as file:
            for position in positions.tolist():
                file.seek(self.start + self.header + position * length + part.start)
                yield length, file.read(part.stop - part.start)

    @contextmanager
    def open(self) -> Iterator[FileIO]:
        """The file, unbuffered: on a network file system a buffer may be 1 MB, to be filled for every single image.

        Raises:
            DataError: it is gone, ends too early, or is another than the one that was opened first.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                if file_version(file) != self.version:
                    raise EOFError("it was changed after it was opened")
                yield file
        except (OSError, EOFError) as error:
            way_out = "put it back as it was and resume the run"
            place = f"{self.option}: {self.path}"
            raise DataError(f"{place} cannot be read any more ({reason_of(error)}); {way_out}") from None

    def rows(self, file: FileIO, first: int, count: int) -> NDArray[Any]:
        """Consecutive images, as they lie in the file.

        Raises:
            EOFError: it ends too early.
        """
        found = np.empty((count, *self.file_shape[1:]), self.file_dtype)
        file.seek(self.start + self.header + first * (found.nbytes // count))
        rest = found.reshape(-1).view(np.uint8).data
        while rest:
            read = file.readinto(rest)
            if not read:
                raise EOFError("it ends too early")
            rest = rest[read:]
        return found

    def channels_last(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows of the file with channels last."""
        return rows.transpose(0, 2, 3, 1) if self.channels_first else rows


@lru_cache(maxsize=16)
def _full_pass(images: NpzRows) -> tuple["hashlib._Hash", float, float]:
    """SHA-256, smallest and largest value of all images, computed once in a process while the file stays the same.

    They are cached here and not in NpzRows, since a SHA-256 under way cannot be pickled.
    """
    digest = hashlib.sha256(heading(images.shape, images.dtype))
    low, high = math.inf, -math.inf
    rows = max(1, _BLOCK_BYTES // (images.file_dtype.itemsize * math.prod(images.file_shape[1:])))
    with images.open() as file:
        file.seek(images.start)
        crc = zlib.crc32(file.read(images.header))
        for first in range(0, len(images), rows):
            stored = images.rows(file, first, min(rows, len(images) - first))
            crc = zlib.crc32(stored.data, crc)
            pixels = np.ascontiguousarray(images.channels_last(stored), images.dtype)
            digest.update(pixels.data)
            if pixels.dtype != np.uint8 or high <= 1:
                low = float(np.minimum(low, pixels.min()))  # Unlike min and max, these pass NaN on.
                high = float(np.maximum(high, pixels.max()))
    if crc != images.crc:
        raise damage_error(images.path, f"Bad CRC-32 for file {images.member!r}", images.option)
    return digest, low, high


def rows_of_member(
    path: Path, file: BinaryIO, archive: zipfile.ZipFile, member: str, option: str = "data"
) -> NpzRows | None:
    """The rows of an array in an archive; None where they cannot be read one by one.

    That is where the array is compressed, in Fortran order or of Python objects, or its header and length do not agree.

    Args:
        path: path of the archive.
        file: the archive's file, open.
        archive: the same file, as an archive.
        member: name of the array's file in it.
        option: option that names the archive, for messages.

    Raises:
        ValueError: it is no array.
        zipfile.BadZipFile: the archive is damaged.
    """
    info = archive.getinfo(member)
    if info.compress_type != zipfile.ZIP_STORED:
        return None
    with archive.open(info) as content:
        header = read_header(content)
    if header.is_fortran or not header.fits(info.file_size):
        return None
    file.seek(info.header_offset + _LOCAL_NAME_LENGTHS)
    start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
    version = file_version(file)
    found = header.length, header.shape, header.dtype
    return NpzRows(path.absolute(), member, info.CRC, start, *found, version, option=option)


def file_version(file: IO[bytes] | FileIO) -> tuple[int, int]:
    """Size and time of change, in nanoseconds, of an open file."""
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def heading(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """What a fingerprint covers before an array's bytes."""
    return f"{shape} {dtype}\n".encode()


def damage_error(path: Path, reason: object, option: str = "data") -> DataError:
    """The error for an archive that cannot be used."""
    reason = reason_of(reason) if isinstance(reason, Exception) else reason
    return DataError(f"{option}: {path} is no whole npz of plain arrays ({reason}); save it with np.savez")
