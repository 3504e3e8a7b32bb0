"""Chunk files: immutable blocks of results, one `chunks/00000.npz` per block of consecutive images."""

import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from psi_core.errors import RunError
from psi_core.files import replacing

Arrays: TypeAlias = dict[str, NDArray[Any]]
ClassSums: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]

CHUNKS = "chunks"


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
    """Numbers of the chunks that are there, ascending. Temporary files of a killed worker are ignored."""
    try:
        names = [path.name for path in (run_directory / CHUNKS).iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(name.removesuffix(".npz")) for name in names if re.fullmatch(r"[0-9]{5,}\.npz", name))


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes an npz so that a reader sees either all of it or none.

    The temporary name never ends in `.npz`: what a killed worker leaves is no chunk.
    """
    named: Mapping[str, Any] = arrays
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **named)
        file.flush()
        os.fsync(file.fileno())


def read_arrays(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> Arrays:
    """Arrays of an npz file by name; their CRCs are checked on the way.

    Args:
        path: path of the file.
        wanted: whether the array of a name is read; all are by default.

    Raises:
        RunError: the file is gone or damaged.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            # A zip's list of members has no CRC of its own; how many there should be stands near the end of the file.
            file.seek(-12, os.SEEK_END)
            if len(names) != int.from_bytes(file.read(2), "little"):
                raise zipfile.BadZipFile("some of its arrays are missing")
            # Whole members: np.load stops where the array's own header says, and may never come to the CRC.
            members = {name.removesuffix(".npy"): name for name in names}
            data = {name: io.BytesIO(archive.read(member)) for name, member in members.items() if wanted(name)}
        return {name: np.load(member, allow_pickle=False) for name, member in data.items()}
    except FileNotFoundError:
        raise RunError(f"{path}: there is no such file; resume the run to make it again") from None
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(
            f"{path}: the chunk is damaged ({error}); delete it and resume the run to make it again"
        ) from None


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
