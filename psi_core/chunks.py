"""Chunk files: immutable blocks of results, one `chunks/00000.npz` per block of consecutive image positions."""

import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from psi_core.errors import RunError

Arrays: TypeAlias = dict[str, NDArray[Any]]
ClassSums: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]

CHUNKS = "chunks"


def chunk_count(images: int, chunk: int) -> int:
    """How many chunks of `chunk` image positions cover `images`."""
    return -(-images // chunk)


def chunk_range(number: int, images: int, chunk: int) -> range:
    """The image positions of one chunk."""
    return range(number * chunk, min((number + 1) * chunk, images))


def chunk_path(run_directory: Path, number: int) -> Path:
    """Where a chunk lies once it is finished."""
    return run_directory / CHUNKS / f"{number:05d}.npz"


def finished_chunks(run_directory: Path) -> list[int]:
    """Numbers of the chunks that are there, ascending. Temporary files of a killed worker are passed over."""
    try:
        names = [path.name for path in (run_directory / CHUNKS).iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(name[:-4]) for name in names if name.endswith(".npz") and name[:-4].isdigit())


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes an npz so that a reader sees either all of it or none.

    The temporary name ends in the writer's process id, never in `.npz`: what a killed worker leaves is no chunk.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_arrays(path: Path) -> Arrays:
    """All arrays of an npz file; its CRCs are checked on the way.

    Raises:
        RunError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, ValueError, EOFError, KeyError) as error:
        raise RunError(
            f"{path}: the chunk is damaged ({error}); delete it and resume the run to make it again"
        ) from None


def concatenate(parts: Iterable[Arrays]) -> Arrays:
    """Arrays of several chunks joined along the image axis, which is the last; class sums and counts are left out."""
    parts = list(parts)
    names = [name for name in parts[0] if not name.startswith("class_")] if parts else []
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in names}


def add_class_sums(parts: Iterable[Arrays], layer: str) -> ClassSums:
    """Class sums of one layer over several chunks.

    Returns:
        Labels (k,) ascending, image counts (k,), and float64 sums (condition, k, channel) of each channel's spatial
        mean over the images of the class.
    """
    parts = list(parts)
    labels = np.unique(np.concatenate([part["class_labels"] for part in parts]))
    counts = np.zeros(len(labels), np.int64)
    example = parts[0][f"class_sum/{layer}"]
    sums = np.zeros((example.shape[0], len(labels), example.shape[2]))
    for part in parts:
        rows = np.searchsorted(labels, part["class_labels"])
        counts[rows] += part["class_counts"]
        sums[:, rows] += part[f"class_sum/{layer}"]
    return labels, counts, sums
