"""Images attacked elsewhere: read from an archive or a folder, and paired with the benign images of a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psi_core.engine.images.dataset import (
    NO_PARTNER,
    ArrayDataset,
    Dataset,
    Pixels,
    Reading,
    Unreadable,
    fingerprint_of,
    rows_of,
)
from psi_core.engine.images.folders import pictures_below
from psi_core.engine.images.npz import class_numbers, pairing_keys, read_npy, read_npz, require_valid_pixels
from psi_core.engine.images.npz_rows import NpzRows
from psi_core.engine.images.pictures import PictureDataset
from psi_core.engine.images.waiting import awaited
from psi_core.errors import DataError, missing_file
from psi_core.files import is_folder, typed_path
from psi_core.option_values import NPY_PLACE
from psi_core.plain_text import counted


@dataclass(frozen=True, slots=True)
class ExternalImages:
    """Attacked images of an archive, by the position of the benign one.

    Attributes:
        images: bytes, or float32 in 0..1; in memory, or rows of the archive.
        rows: row of `images` for every position up to the run's last; -1 where there is none.
        place: the archive's path.
    """

    images: Pixels | NpzRows
    rows: NDArray[np.int64]
    place: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all images and their pairing."""
        return fingerprint_of(self.images, self.rows)

    def read(self, positions: NDArray[np.int64], size: int, channels: int) -> Reading:
        """Attacked images at these positions, at their own size."""
        rows = self.rows[positions]
        lacking = (Unreadable(int(each), self.place, NO_PARTNER) for each in positions[rows < 0])
        return Reading(rows_of(self.images, rows[rows >= 0]), tuple(lacking))


def load_external(
    name: str,
    dataset: Dataset,
    positions: NDArray[np.int64],
    size: int,
    resize: int | None,
    labels: Sequence[NDArray[np.int64]],
    *,
    may_lack: bool = False,
) -> ExternalImages | PictureDataset:
    """The attacked images `npz:PATH`, `npy:PATH[A:B]` or `folder:PATH` of a run's images.

    An array is paired by order, its first image with the first of the data set. So is an archive without an array
    `index`, which holds positions in the data set (or the `index` of the data set's own archive); its `labels`, where
    they are there, must be the benign images' own. To a folder of pictures it may be in one of two orders: that of the
    data set, a picture of each class in turn, or torchvision's, class by class. Its `labels` tell which; one without
    `index` and such labels is refused. A folder is paired by file name, without its ending: `cat/01.png` is the
    attacked `cat/01.jpg`.

    Args:
        name: as the run's configuration names it.
        dataset: the benign images.
        positions: positions of those that the run takes, ascending.
        size: size of the network's input, in pixels.
        resize: as for the data set itself; pictures of the input size are left as they are.
        labels: labels of the data set, in its own numbers and in the network's. An archive's `labels` must
            equal one of these; with none they are not compared, but to find the order of a folder's images.
        may_lack: whether an image without a partner is treated as unreadable; else it is refused.

    Raises:
        DataError: they are not there, have another shape or range, or one has no partner.
    """
    kind, _, place = name.partition(":")
    path = typed_path(place)

    def load() -> ExternalImages | PictureDataset:
        if kind == "npz":
            found, arrays = read_npz(path, "attacked")
            return _from_arrays(found, arrays, path, dataset, positions, size, labels, may_lack)
        if kind == "npy":
            return _from_array(place, dataset, positions, size, may_lack)
        return _from_folder(name, path, dataset, positions, resize, may_lack)

    return awaited(load, place)


def _from_array(
    place: str, dataset: Dataset, positions: NDArray[np.int64], size: int, may_lack: bool
) -> ExternalImages:
    """The images of an `.npy` file, or of a part of it as CIFAR-10-C needs it: five severities lie in one file."""
    parts = NPY_PLACE.fullmatch(place)
    assert parts is not None, "the configuration has been checked"
    first, last = (int(part) if part else None for part in parts.group(2, 3))
    path = typed_path(parts[1])
    whole, _, part = str(path).rpartition("[")
    if part.endswith("]") and not path.exists() and Path(whole).is_file():
        raise DataError(f"attacked: [{part} is no part of {whole}; write [A:B], from image A on to before B")
    found = read_npy(path, first, last)
    if len(found) > len(dataset):
        raise DataError(
            f"attacked: {place} holds {counted(len(found), 'image')} and {dataset.name} {len(dataset)}; write which of "
            f"them, such as npy:{path}[0:{len(dataset)}]"
        )
    return _from_arrays(found, {}, path, dataset, positions, size, (), may_lack)


def _from_arrays(
    found: Pixels | NpzRows,
    arrays: dict[str, NDArray[Any]],
    path: Path,
    dataset: Dataset,
    positions: NDArray[np.int64],
    size: int,
    expected: Sequence[NDArray[np.int64]],
    may_lack: bool,
) -> ExternalImages:
    shapes = {(size, size), *([dataset.images.shape[1:3]] if isinstance(dataset, ArrayDataset) else [])}
    if found.shape[1:3] not in shapes:
        allowed = " or ".join(f"{height} x {width}" for height, width in sorted(shapes))
        raise DataError(
            f"attacked: images in {path} are {found.shape[1]} x {found.shape[2]} pixels; save them at {allowed}, "
            "for another size would change the attack"
        )
    takes_labels = "labels" in arrays and (expected or isinstance(dataset, PictureDataset))
    labels = class_numbers(arrays["labels"], len(found), "attacked", path) if takes_labels else None
    index = pairing_keys(arrays, len(found), path, "attacked")
    if "index" not in arrays and isinstance(dataset, PictureDataset):
        index = _order_of(labels, len(found), path, dataset, expected)
    # An archive without positions of its own is in the order of the data set, whatever the data set's own archive says.
    own = dataset.keys if isinstance(dataset, ArrayDataset) and "index" in arrays else None
    keys = np.arange(len(dataset)) if own is None else own
    if "index" not in arrays and len(positions) <= positions[-1] >= len(found):
        # Its images may be those of the sample, or the first of the data set: nothing tells which.
        raise DataError(
            f"attacked: {path} holds {counted(len(found), 'image')} without positions, and the run samples as far as "
            f"image {positions[-1]}; save their positions in the data as index, or take the first ones with "
            "--order first"
        )
    row_of = {int(key): row for row, key in enumerate(index)}
    rows = np.full(positions[-1] + 1, -1)
    rows[positions] = [row_of.get(int(key), -1) for key in keys[positions]]
    lacking = positions[rows[positions] < 0]
    if len(lacking) and not may_lack:
        raise DataError(
            f"attacked: {path} holds {counted(len(found), 'image')} and none for {dataset.place_of(int(lacking[0]))}, "
            f"one of {len(lacking)} without a partner; save them all, or add --skip-unreadable to leave these out"
        )
    paired = np.flatnonzero(rows >= 0)
    if labels is not None and expected and all((labels[rows[paired]] != each[paired]).any() for each in expected):
        raise _unlike_labels(path, dataset)
    require_valid_pixels(found, path, "attacked")
    return ExternalImages(found, rows, str(path))


def _order_of(
    labels: NDArray[np.int64] | None,
    images: int,
    path: Path,
    dataset: PictureDataset,
    expected: Sequence[NDArray[np.int64]],
) -> NDArray[np.int64]:
    """Positions of the images of an archive that does not say them, in a folder of pictures, (image,).

    Raises:
        DataError: the folder has several classes, and labels do not tell which of its two orders the images have.
    """
    in_turn = np.arange(images)
    by_class = np.argsort(dataset.labels, kind="stable")
    if (by_class[: len(in_turn)] == in_turn[: len(by_class)]).all():
        return in_turn
    if labels is None:
        raise DataError(
            f"attacked: {path} says neither index nor labels of its images, and a folder's lie in two orders, "
            "class by class in torchvision, one of each class in turn here; save them as npz with their labels, with "
            "their positions as index, or as pictures named as the benign ones"
        )
    for order in (in_turn, by_class) if images <= len(by_class) else (in_turn,):
        rows = order[: min(images, len(by_class))]
        if any((labels[: len(rows)] == each[rows]).all() for each in (dataset.labels, *expected)):
            return order[:images]
    raise _unlike_labels(path, dataset)


def _unlike_labels(path: Path, dataset: Dataset) -> DataError:
    """The error of an archive whose labels are those of other images, or of the same in an order that nothing tells."""
    return DataError(
        f"attacked: labels in {path} are not those of {dataset.name}; save the images in its order, or their positions "
        "as index"
    )


def _from_folder(
    name: str, root: Path, dataset: Dataset, positions: NDArray[np.int64], resize: int | None, may_lack: bool
) -> PictureDataset:
    if not isinstance(dataset, PictureDataset):
        raise DataError(
            f"attacked: {dataset.name} has no file names to pair a folder by; write npz:PATH, paired by position"
        )
    if not is_folder(root):
        raise DataError(missing_file("attacked", root, "write folder: and the path of one", "folder"))
    benign = _by_stem([dataset.places[position] for position in positions], dataset.name)
    by_stem = _by_stem([str(file.relative_to(root)) for file in pictures_below(root)], str(root))
    lacking = [place for stem, place in benign.items() if stem not in by_stem]
    if lacking and not may_lack:
        raise DataError(
            f"attacked: {root} has no picture for {lacking[0]}, one of {len(lacking)} without a partner; "
            "name the files as the benign ones, or add --skip-unreadable to leave these out"
        )
    last = int(positions[-1]) + 1
    pictures: list[str | None] = [None] * last
    places = [f"{place} (attacked)" for place in dataset.places[:last]]
    for position, stem in zip(positions.tolist(), benign, strict=True):
        if stem in by_stem:
            pictures[position], places[position] = str((root / by_stem[stem]).absolute()), by_stem[stem]
    return PictureDataset(
        name, dataset.labels[:last], dataset.class_names, tuple(pictures), tuple(places), resize, keeps_input_size=True
    )


def _by_stem(places: Iterable[str], where: str) -> dict[str, str]:
    """Places by their path without the ending, in their order.

    Raises:
        DataError: two differ in their ending only.
    """
    found: dict[str, str] = {}
    for place in places:
        stem = PurePath(place).with_suffix("").as_posix()
        if stem in found:
            raise DataError(f"attacked: {found[stem]} and {place} in {where} cannot be told apart; rename one")
        found[stem] = place
    return found
