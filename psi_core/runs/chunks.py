"""Chunk files: immutable blocks of results, one `chunks/00000.npz` per block of consecutive images."""

import lzma
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from psi_core.errors import RunError, reason_of
from psi_core.files import flush, open_file, replacing, set_aside
from psi_core.npy import read_header

Arrays: TypeAlias = dict[str, NDArray[Any]]
ClassSums: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]

CHUNKS = "chunks"

SEAL = "seal"
"""Name of the array that says whose a chunk is; see `psi_core.runs.seals`."""

LARGEST = 2**31
"""Bytes of an array of which nothing else is known."""

DAMAGE = (
    *(OSError, ValueError, EOFError, RuntimeError, NotImplementedError, MemoryError, OverflowError, struct.error),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What reading a damaged archive raises."""


def chunk_count(images: int, chunk: int) -> int:
    """How many chunks of `chunk` images hold `images`."""
    return -(-images // chunk)


def chunk_range(number: int, images: int, chunk: int) -> range:
    """Places of one chunk's images among those of the run; `Run.chunk_positions` gives their positions."""
    return range(number * chunk, min((number + 1) * chunk, images))


def share_of(worker: int, workers: int, chunks: int) -> range:
    """Numbers of the chunks that one of several workers makes: i mod N."""
    return range(worker, chunks, workers)


def owner_of(chunk: int, workers: int) -> int:
    """The worker whose share a chunk is in."""
    return chunk % workers


def chunk_path(run_directory: Path, number: int) -> Path:
    """Where a chunk lies once it is finished."""
    return run_directory / CHUNKS / f"{number:05d}.npz"


def finished_chunks(run_directory: Path) -> list[int]:
    """Numbers of the chunks that are there, ascending. Files of any other name, `000000.npz` too, are none."""
    try:
        names = [path.name for path in (run_directory / CHUNKS).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"{run_directory / CHUNKS}: cannot be read ({error.strerror}); check who owns it") from None
    numbers = [int(name.removesuffix(".npz")) for name in names if re.fullmatch(r"[0-9]{5,9}\.npz", name)]
    return sorted({number for number in numbers if chunk_path(run_directory, number).name in names})


def set_chunk_aside(run_directory: Path, number: int) -> Path:
    """Takes a chunk out of the way, and gives its new place."""
    return set_aside(chunk_path(run_directory, number), "wrong")


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes an npz so that a reader sees either all of it or none.

    The temporary name never ends in `.npz`: what a killed worker leaves is no chunk.
    """
    named: Mapping[str, Any] = arrays
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **named)
        flush(file)


Header: TypeAlias = Callable[[str, tuple[int, ...], np.dtype[Any]], None]
"""Refuses an array by its name, shape and type, before its numbers are read, with a ValueError."""


def read_arrays(
    path: Path, wanted: Callable[[str], bool] = lambda name: name != SEAL, require: Header | None = None
) -> Arrays:
    """Arrays of an npz file by name; their CRCs are checked on the way.

    Args:
        path: path of the file.
        wanted: whether the array of a name is read; all but the seal are by default.
        require: refuses what should not be read; default: arrays above LARGEST bytes.

    Raises:
        RunError: the file is gone or damaged.
    """
    return read_archive(path, wanted, require)[0]


def read_archive(
    path: Path, wanted: Callable[[str], bool], require: Header | None = None
) -> tuple[Arrays, frozenset[str]]:
    """The same, and the names of all arrays that the file holds."""
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            members = _members(file, archive)
            arrays = {name: _array(archive, info, name, require) for name, info in members.items() if wanted(name)}
            return arrays, frozenset(members)
    except FileNotFoundError:
        raise RunError(f"{path}: there is no such file; resume the run to make it again") from None
    except DAMAGE as error:
        raise RunError(
            f"{path}: the chunk is damaged ({reason_of(error)}); delete it and resume the run to make it again"
        ) from None


def _members(file: IO[bytes], archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members of an archive by the name of their array.

    A zip's list of members has no CRC of its own. How many there should be stands near the end of the file, and each
    name a second time before the member's data.
    """
    infos = archive.infolist()
    file.seek(-12, os.SEEK_END)
    members = {info.filename.removesuffix(".npy"): info for info in infos}
    if not len(members) == len(infos) == int.from_bytes(file.read(2), "little"):
        raise zipfile.BadZipFile("some of its arrays are missing, or there twice")
    for info in infos:
        file.seek(info.header_offset + 26)
        length = int.from_bytes(file.read(2), "little")
        file.seek(2, os.SEEK_CUR)
        if file.read(length) != info.orig_filename.encode():
            raise zipfile.BadZipFile(f"its list of arrays names {info.filename!r}, which is not there")
    return members


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, require: Header | None) -> NDArray[Any]:
    """One array, read whole: the CRC is compared at the member's end."""
    with archive.open(info) as file:
        header = read_header(file)
        shape, dtype = header.shape, header.dtype
        if not header.fits(info.file_size):
            raise ValueError(f"{name} is {dtype} {shape}, which does not fit its {info.file_size} bytes")
        if require is not None:
            require(name, shape, dtype)
        elif header.size > LARGEST:
            raise ValueError(f"{name} has {header.size} bytes")
        array = np.frombuffer(bytearray(file.read()), dtype)
        return array.reshape(shape, order="F" if header.is_fortran else "C")


def add_class_sums(parts: Iterable[Arrays], layer: str) -> ClassSums:
    """Class sums of one layer over several chunks, at least one; taken one by one, so that they need not fit in memory.

    Returns:
        Labels (k,) ascending, image counts (k,), and float64 sums (condition, k, channel) of each channel's spatial
        mean over the images of the class.
    """
    labels, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    sums: NDArray[np.float64] | None = None
    for part in parts:
        added = part[f"class_sum/{layer}"]
        if sums is None:
            sums = np.zeros((added.shape[0], 0, added.shape[2]))
        new = np.setdiff1d(part["class_labels"], labels)
        if new.size:
            places = np.searchsorted(labels, new)
            labels, counts = np.insert(labels, places, new), np.insert(counts, places, 0)
            sums = np.insert(sums, places, 0.0, axis=1)
        rows = np.searchsorted(labels, part["class_labels"])
        counts[rows] += part["class_counts"]
        sums[:, rows] += added
    assert sums is not None, "there is a part"
    return labels, counts, sums


def add_channel_sums(parts: Iterable[Arrays], layer: str) -> tuple[int, NDArray[np.float64]]:
    """How many images several chunks have, and the sums of each channel's spatial mean over them, (condition, channel).

    At least one chunk; their classes are added up as they come, so that memory does not grow with these.
    """
    images, total = 0, np.zeros(())
    for part in parts:
        images += int(part["class_counts"].sum())
        total = total + part[f"class_sum/{layer}"].sum(axis=1)
    return images, total


def add_square_sums(parts: Iterable[Arrays], layer: str) -> NDArray[np.float64] | None:
    """Sums over images of each channel's squared spatial mean, (condition, channel), over several chunks.

    None where one of them lacks these, as those of older versions do.
    """
    total: NDArray[np.float64] | None = None
    for part in parts:
        added = part.get(f"square_sum/{layer}")
        if added is None:
            return None
        total = added if total is None else total + added
    return total
