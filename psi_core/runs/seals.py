"""Seals: each chunk says whose it is and carries a digest of every array; and what a run's chunks must look like.

Chunks of versions before seals have none. Their arrays are held to the shapes and ranges that the run allows.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psi_core.errors import RunError
from psi_core.measures import MEASURES
from psi_core.runs.chunks import SEAL, Arrays, Header, chunk_path, read_archive

_POSITIONS = ("index", "label", "target")
_CHOICES = ("prediction",)
_NUMBERS = ("confidence", "linf", "l2")
_CLASSES = ("class_labels", "class_counts")

_LARGEST_UNKNOWN = 2**28
"""Bytes of an array that a newer version added."""

_ROUNDING = 1e-3
"""How far a share may lie outside 0..1, whatever the device rounds."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a chunk was made by.

    Attributes:
        run: id of the run.
        config: the run's fingerprint, a SHA-256 of its configuration.
        layers: SHA-256 of its layers.
        weights: SHA-256 of the network's weights; empty while nobody knows them.
    """

    run: str
    config: str
    layers: str
    weights: str


@dataclass(frozen=True, slots=True)
class ChunkForm:
    """What the arrays of a run's chunks must look like.

    Attributes:
        conditions: how many conditions there are.
        layers: channels of each tapped layer, by name.
        measures: names of the measures.
    """

    conditions: int
    layers: Mapping[str, int]
    measures: tuple[str, ...]

    def header(self, images: int) -> Header:
        """Refuses an array that is larger than `images` images can make it, or of another type."""

        def require(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
            expected = self._expected(name)
            if expected is None:
                if int(np.prod(shape, dtype=object)) * dtype.itemsize > _LARGEST_UNKNOWN:
                    raise ValueError(f"{name} is unknown, and too large to read: {shape}")
                return
            kind, wanted = expected
            at_most = tuple(images if size is None else size for size in wanted)
            fits = len(shape) == len(wanted) and all(
                found <= images if size is None else found == size for found, size in zip(shape, wanted, strict=True)
            )
            if dtype.kind != kind or dtype.itemsize > 8 or not fits:
                raise ValueError(f"{name} is {dtype} {shape}, where at most {at_most} fits")

        return require

    def require_values(self, arrays: Arrays) -> None:
        """Refuses numbers that no run gives: infinite ones, shares outside 0..1, negative positions and classes."""
        for name, values in arrays.items():
            if name in (*_POSITIONS, *_CHOICES, *_CLASSES):
                _require_within(name, values, 0, np.inf)
            elif name in MEASURES:
                is_share = MEASURES[name].is_share
                _require_within(
                    name, values, -_ROUNDING if is_share else -np.inf, 1 + _ROUNDING if is_share else np.inf
                )
            elif name in _NUMBERS:
                _require_within(name, values, 0, np.inf if name == "l2" else 1 + _ROUNDING)
            elif name.startswith(("class_sum/", "square_sum/")):
                _require_within(name, values, -np.inf, np.inf)

    def _expected(self, name: str) -> tuple[str, tuple[int | None, ...]] | None:
        """Kind of the numbers and shape of an array, None standing for images or classes; None where it is unknown."""
        kind, _, layer = name.partition("/")
        if name in (*_POSITIONS, *_CLASSES):
            return "i", (None,)
        if name in _CHOICES:
            return "i", (self.conditions, None)
        if name in _NUMBERS:
            return "f", (self.conditions, None)
        if name in self.measures:
            return "f", (self.conditions, len(self.layers), None)
        if kind in ("class_sum", "square_sum") and layer in self.layers:
            classes = (None,) if kind == "class_sum" else ()
            return "f", (self.conditions, *classes, self.layers[layer])
        return None


def _require_within(name: str, values: NDArray[Any], low: float, high: float) -> None:
    if not values.size:
        return
    with np.errstate(invalid="ignore"):
        least, most = np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)
    if least < low or most > high or np.isinf(least) or np.isinf(most):
        raise ValueError(f"{name} goes from {least:.6g} to {most:.6g}, which no run gives")


def sealed(arrays: Arrays, origin: Origin, number: int, images: Sequence[str] = ()) -> Arrays:
    """The arrays of a finished chunk, and its seal.

    Args:
        arrays: arrays of the chunk.
        origin: what it was made by.
        number: its number.
        images: digests of the pictures that it was made from, where these are files.
    """
    kept = {"images": list(images)} if images else {}
    values = {
        **asdict(origin),
        **kept,
        "chunk": number,
        "arrays": {name: _digest(array) for name, array in arrays.items()},
    }
    seal = np.frombuffer(json.dumps(values, sort_keys=True).encode(), np.uint8)
    return {**arrays, SEAL: seal}


def read_seal(path: Path) -> dict[str, Any]:
    """What the seal of a chunk says; empty where it has none that can be read."""
    try:
        arrays, _ = read_archive(path, SEAL.__eq__)
        return _parsed(arrays[SEAL]) if SEAL in arrays else {}
    except (RunError, ValueError):
        return {}


def read_chunk(
    run_directory: Path,
    origin: Origin,
    form: ChunkForm,
    number: int,
    positions: NDArray[np.int64],
    wanted: Callable[[str], bool],
    *,
    is_sealed: bool,
) -> Arrays:
    """Arrays of a finished chunk that are wanted, compared with its seal, its number and its run.

    Args:
        run_directory: the run's directory.
        origin: what its chunks were made by.
        form: what they must look like.
        number: number of the chunk.
        positions: positions of its images in the data set, ascending.
        wanted: whether the array of a name is read.
        is_sealed: whether every chunk of the run has a seal.

    Raises:
        RunError: it is gone, damaged, or not this chunk of this run.
    """
    path = chunk_path(run_directory, number)
    try:
        return _read(path, origin, form, number, positions, wanted, len(positions), is_sealed=is_sealed)
    except ValueError as error:
        raise RunError(
            f"{path}: is not chunk {number} of this run ({error}); resume the run to make it again"
        ) from None


def read_preview(path: Path, origin: Origin, form: ChunkForm, positions: NDArray[np.int64], images: int) -> Arrays:
    """Arrays of an open chunk, compared with its run, and with its seal where a worker gave it one.

    Args:
        path: its file.
        origin: what the run's chunks are made by.
        form: what they must look like.
        positions: positions of all of the run's images, ascending.
        images: how many a chunk has at most.

    Raises:
        RunError: it is gone, damaged, or not of this run.
    """
    number = read_seal(path).get("chunk")
    try:
        return _read(path, origin, form, number, positions, lambda name: True, images, is_sealed=False)
    except ValueError as error:
        raise RunError(f"{path}: is no open chunk of this run ({error}); resume the run to make it again") from None


def _read(
    path: Path,
    origin: Origin,
    form: ChunkForm,
    number: int | None,
    positions: NDArray[np.int64],
    wanted: Callable[[str], bool],
    images: int,
    *,
    is_sealed: bool,
) -> Arrays:
    """The arrays of a file that are wanted; a ValueError says why it is not this chunk of this run."""
    largest = form.header(images)

    def require(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if name != SEAL:
            largest(name, shape, dtype)
        elif dtype != np.uint8 or len(shape) != 1 or shape[0] > _LARGEST_UNKNOWN:
            raise ValueError(f"its seal is {dtype} {shape}")

    arrays, names = read_archive(path, lambda name: name in ("index", SEAL) or wanted(name), require)
    seal, index = arrays.pop(SEAL, None), arrays.get("index")
    if seal is None:
        if is_sealed:
            raise ValueError("it carries no digest, as every chunk of this run does")
        form.require_values(arrays)
    else:
        _require_sealed(path, arrays, names - {SEAL}, _parsed(seal), origin, number)
    if index is None or (np.diff(index) <= 0).any() or not np.isin(index, positions).all():
        raise ValueError("its images are not those of this chunk")
    of_images = [array for name, array in arrays.items() if name in (*_POSITIONS, *_CHOICES, *_NUMBERS, *form.measures)]
    if any(array.shape[-1] != len(index) for array in of_images):
        raise ValueError("its arrays are not of the same images")
    return arrays if wanted("index") else {name: array for name, array in arrays.items() if name != "index"}


class ConfigChangedError(RunError):
    """A chunk is the run's, and the run's configuration is not the one that it was made by."""


def _parsed(seal: NDArray[np.uint8]) -> dict[str, Any]:
    try:
        values = json.loads(seal.tobytes())
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("arrays"), dict):
        raise ValueError("its seal cannot be read")
    return values


def _require_sealed(
    path: Path, arrays: Arrays, names: frozenset[str], seal: Mapping[str, Any], origin: Origin, number: int | None
) -> None:
    if seal.get("run") != origin.run:
        raise ValueError(f"it is of run {str(seal.get('run'))[:100]!r}")
    if seal.get("chunk") != number:
        raise ValueError(f"it is chunk {str(seal.get('chunk'))[:20]}")
    if seal.get("config") != origin.config:
        raise ConfigChangedError(
            f"{path}: was made by another config.json than the run has now; put that back as it was, or start a new run"
        )
    for kind, what in (("layers", "layers.json"), ("weights", "model.json")):
        known = getattr(origin, kind)
        if known and seal.get(kind) and seal[kind] != known:
            raise ValueError(f"it was made with other {kind} than {what} names")
    if set(seal["arrays"]) != names:
        odd = sorted(set(seal["arrays"]) ^ names)
        raise ValueError(f"{odd[0][:100]!r} is missing from it, or was added")
    wrong = next((name for name, array in arrays.items() if seal["arrays"][name] != _digest(array)), None)
    if wrong is not None:
        raise ValueError(f"{wrong} is not what was computed")


def _digest(array: NDArray[Any]) -> str:
    """SHA-256 of an array's type, shape and numbers."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return digest.hexdigest()
