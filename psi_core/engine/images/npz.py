"""Images and labels of a NumPy archive, `npz:PATH`, every array checked before it is used."""

import math
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from psi_core.engine.images.dataset import ArrayDataset, Dataset, Pixels
from psi_core.engine.images.npz_rows import NpzRows, damage_error, rows_of_member
from psi_core.engine.memory import available_memory
from psi_core.errors import DataError, missing_file, reason_of
from psi_core.files import open_file, typed_path
from psi_core.npy import read_header
from psi_core.plain_text import counted, short_number

_CHANNELS = (1, 3)

_MOST_CLASSES = 10_000_000

_LARGEST_OTHER = 2**30
"""Bytes of labels, class names or index."""

_MOST_PACKED = 200
"""How many times smaller compression makes images at most; digits, nearly all black, become 8 times smaller."""

IMAGES = {
    "test": ("images", "x_test", "test_images", "test_x", "x_val", "val_images", "x", "data"),
    "train": ("x_train", "train_images", "train_x"),
    "attacked": ("images", "x_adv", "adv_images", "images_adv", "adv", "x_test_adv", "x_test", "test_images", "x"),
}
"""Names of images in an archive by part of the data, in any case, the likeliest first: our own, Keras', MedMNIST's."""

_DAMAGE = (OSError, ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged archive raises; RuntimeError where it has a password or an unknown compression."""


def load_npz(name: str, path: Path, split: str) -> ArrayDataset:
    """Images and labels of an `.npz` file and, where they are there, its `class_names` and `index`.

    They are its arrays `images` and `labels`, or those of the split: `x_test` and `y_test`, `test_images` and
    `test_labels`. Without labels every image is of one class, which only `--labels predicted` can use. Without
    `class_names` classes are called by their numbers.

    Raises:
        DataError: it is not there, no archive, has no such part, or its arrays do not fit.
    """
    images, arrays = read_npz(path, "data", split)
    keys = pairing_keys(arrays, len(images), path, "data") if "index" in arrays else None
    labels, class_names = _labels_and_names(arrays, len(images), path)
    require_valid_pixels(images, path, "data")
    return ArrayDataset(name, images, labels, class_names, keys)


def array_notes(dataset: Dataset, size: int) -> list[str]:
    """What a run says of images in arrays: that they are stretched where they are not square."""
    if not isinstance(dataset, ArrayDataset):
        return []
    _, height, width, *_ = dataset.images.shape
    if height == width:
        return []
    return [
        f"data: images of {dataset.name} are {height} x {width} pixels, which are stretched to {size} x {size}; "
        "save them square, cropped or padded, where shapes matter"
    ]


def _labels_and_names(
    arrays: dict[str, NDArray[Any]], images: int, path: Path
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class numbers of an archive and what it calls its classes.

    Raises:
        DataError: labels are no class numbers, one for each image, or more than names.
    """
    found = arrays.get("labels")
    if found is None:
        return np.zeros(images, np.int64), ("unlabeled",)
    labels = class_numbers(found, images, "data", path)
    count = int(labels.max()) + 1
    if count > _MOST_CLASSES:
        raise DataError(f"data: labels in {path} go up to {count - 1}, more classes than any network has; save others")
    names = tuple(str(each) for each in np.atleast_1d(arrays.get("class_names", np.arange(count))))
    if len(names) == count - 1 and labels.min() == 1:
        raise DataError(f"data: labels in {path} count from 1 to {count - 1}; save labels - 1, which count from 0")
    if len(names) < count:
        raise DataError(f"data: {path} has labels up to {count - 1} and {len(names)} class_names; name every class")
    return labels, names


def class_numbers(labels: NDArray[Any], images: int, option: str, path: Path) -> NDArray[np.int64]:
    """Labels as class numbers int64 (image,), from whole numbers of any type, (image,) or (image, 1).

    Raises:
        DataError: they are no class numbers from 0 on, one for each image.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.shape[0] == images and labels.dtype.kind in "biuf":
        is_one_hot = bool(np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all())
        kind = "one-hot" if is_one_hot else "several for each image"
        raise DataError(
            f"{option}: labels in {path} are {kind}, {labels.dtype} {labels.shape}; save one class number for each "
            "image, such as labels.argmax(1)"
        )
    numbers = labels.astype(np.int64) if labels.dtype.kind in "iu" else None
    if numbers is not None and numbers.shape == (images,) and numbers.min() < 0:
        raise DataError(
            f"{option}: labels in {path} go down to {numbers.min()}; save class numbers from 0 on, and without the "
            "images that have none"
        )
    if numbers is None or numbers.shape != (images,):
        raise DataError(
            f"{option}: labels in {path} are {labels.dtype} {labels.shape}; save class numbers from 0 on, one for each "
            f"of the {images} images"
        )
    return numbers


def read_npz(
    path: Path, option: Literal["data", "attacked"], part: str = "attacked"
) -> tuple[Pixels | NpzRows, dict[str, NDArray[Any]]]:
    """Images of an archive, and those of its arrays `labels`, `class_names` and `index` that are there.

    Images of np.savez stay in the file; those of np.savez_compressed, or in Fortran order, are read whole into memory.
    Other arrays are left unread, and pickled objects are never loaded. The images' values are not checked yet:
    `require_valid_pixels` does that.

    Args:
        path: path of the archive.
        option: option that names it, for messages.
        part: which names its images may have: `test`, `train` or `attacked`.

    Raises:
        DataError: it is not there, no archive of arrays, or its images are none.
    """
    images: NDArray[Any] | NpzRows | None = None
    others: dict[str, NDArray[Any]] = {}
    try:
        with open_file(typed_path(path)) as file:
            if not file.read(6).startswith((b"PK", b"\x93NUMPY")):
                raise DataError(f"{option}: {path} is no npz; save images and labels with np.savez")
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array")
            assert archive.zip is not None, "it is open"
            names = {name.lower(): name for name in archive.files}
            key = next((each for each in IMAGES[part] if each in names), None)
            if key is not None:
                if f"{names[key]}.npy" in archive.zip.namelist():
                    images = rows_of_member(typed_path(path), file, archive.zip, f"{names[key]}.npy", option)
                if images is None:
                    _require_room(archive.zip, names[key], option, path, available_memory() // 2)
                    images = archive[names[key]]
                labels = next((names[each] for each in _labels_beside(key) if each in names), "")
                sought = {"labels": labels, "class_names": "class_names", "index": "index"}
                present = {name: stored for name, stored in sought.items() if stored in archive.files}
                for stored in present.values():
                    _require_room(archive.zip, stored, option, path, _LARGEST_OTHER)
                others = {name: archive[stored] for name, stored in present.items()}
    except FileNotFoundError:
        raise DataError(missing_file(option, typed_path(path), "write npz: and the path of one")) from None
    except (PermissionError, IsADirectoryError) as error:
        raise DataError(f"{option}: {path} cannot be read ({error.strerror}); name an npz file that can") from None
    except DataError:
        raise
    except _DAMAGE as error:
        raise damage_error(path, error, option) from None
    if images is None:
        raise _no_images_error(path, option, part, sorted(names.values()))
    return as_pixels(images, str(path), option), others


def _no_images_error(path: Path, option: str, part: str, names: list[str]) -> DataError:
    """The error of an archive without images of a part."""
    if part == "train":
        return DataError(
            f"data: {path} has no train part; save one, or write --split test, and in place of fitted weights name a "
            "file with --weights"
        )
    if part == "test" and not {name.lower() for name in names}.isdisjoint(IMAGES["train"]):
        return DataError(f"data: {path} holds no test part but {names}; write --split train, or save a test part")
    return DataError(f"{option}: {path} holds no array images but {names}; save one with np.savez")


def _require_room(archive: zipfile.ZipFile, name: str, option: str, path: Path, most: int) -> None:
    """Refuses an array that is not as long as its header says, or too large for memory, before it is read.

    Raises:
        DataError: it is too large.
        ValueError: its header and its length do not agree.
    """
    member = name if name in archive.namelist() else f"{name}.npy"
    info = archive.getinfo(member)
    with archive.open(info) as file:
        header = read_header(file)
        if not header.dtype.hasobject and not header.fits(info.file_size):
            raise ValueError(f"{name} is {header.dtype} {header.shape} in its header, and has {info.file_size} bytes")
    if info.file_size > max(_LARGEST_OTHER, _MOST_PACKED * info.compress_size):
        raise DataError(
            f"{option}: {name} in {path} unpacks to {info.file_size / 1e9:.1f} GB from "
            f"{info.compress_size / 1e6:.1f} MB, as no images do; save those that you mean"
        )
    if info.file_size > most:
        raise DataError(
            f"{option}: {name} in {path} takes {info.file_size / 1e9:.1f} GB of memory, where {most / 1e9:.1f} GB are "
            "meant for it; save it with np.savez, uncompressed, or in smaller parts"
        )


def _labels_beside(images: str) -> tuple[str, ...]:
    """Names that the labels of some images may have, the likeliest first: `y_test` beside `x_test`."""
    paired = images.replace("images", "labels") if "images" in images else images.replace("x", "y")
    return tuple(
        each for each in (paired.replace("_adv", ""), "labels", "y", "targets", "label", "target") if each != images
    )


def read_npy(path: Path, first: int | None, last: int | None) -> Pixels:
    """Images `first` up to `last` of an `.npy` file, read into memory; all of them where these are None.

    Raises:
        DataError: it is not there, damaged, or holds no images.
    """
    try:
        open_file(path).close()  # What is no plain file is refused; NumPy would wait for a pipe.
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(stored, np.ndarray):
            raise ValueError("it is an archive; write npz:")
        part = stored[first:last]
        images = np.array(part)
    except FileNotFoundError:
        raise DataError(missing_file("attacked", path, "write npy: and the path of one")) from None
    except (PermissionError, IsADirectoryError) as error:
        raise DataError(f"attacked: {path} cannot be read ({error.strerror}); name an npy file that can") from None
    except _DAMAGE as error:
        raise DataError(f"attacked: {path} is no whole npy file ({reason_of(error)}); save it with np.save") from None
    if not images.size and stored.size:
        raise DataError(
            f"attacked: {path} has {counted(len(stored), 'image')} and none in [{first}:{last}]; write a part of them"
        )
    found = as_pixels(images, str(path), "attacked")
    assert not isinstance(found, NpzRows), "it was read into memory"
    return found


def pairing_keys(arrays: dict[str, NDArray[Any]], images: int, path: Path, option: str) -> NDArray[np.int64]:
    """What the images of an archive are paired by, int64 (image,): its array `index`, or their order.

    Raises:
        DataError: there is not one whole number for each image, or one comes twice.
    """
    index = arrays.get("index", np.arange(images))
    if index.shape != (images,) or not np.issubdtype(index.dtype, np.integer):
        raise DataError(f"{option}: index in {path} is {index.dtype} {index.shape}; save one position for each image")
    positions, counts = np.unique(index, return_counts=True)
    if len(positions) < images:
        raise DataError(
            f"{option}: index in {path} has {positions[counts.argmax()]} {counts.max()} times; save each position once"
        )
    return index.astype(np.int64)


def as_pixels(images: NDArray[Any] | NpzRows, where: str, option: str) -> Pixels | NpzRows:
    """Images as bytes or float32, channels last.

    Raises:
        DataError: they have another shape or type.
    """
    shape, dtype = images.shape, images.file_dtype if isinstance(images, NpzRows) else images.dtype
    has_channels_last = len(shape) == 4 and shape[3] in _CHANNELS
    has_channels_first = len(shape) == 4 and not has_channels_last and shape[1] in _CHANNELS
    if not (len(shape) == 3 or has_channels_last or has_channels_first):
        raise DataError(
            f"{option}: images in {where} are {shape}; save (image, height, width), with 1 or 3 channels behind or "
            "before height and width where there are any"
        )
    if 0 in shape:
        raise DataError(f"{option}: {where} holds no image; save some")
    if dtype != np.uint8 and not np.issubdtype(dtype, np.floating):
        raise DataError(f"{option}: images in {where} are {dtype}; save uint8 in 0..255, or floats in 0..1")
    if isinstance(images, NpzRows):
        return replace(images, channels_first=has_channels_first)
    found = images.transpose(0, 2, 3, 1) if has_channels_first else images
    return found.astype(np.uint8, copy=False) if dtype == np.uint8 else found.astype(np.float32, copy=False)


def require_valid_pixels(images: Pixels | NpzRows, path: Path, option: str) -> None:
    """Makes sure of the values of all images, in one pass; those in a file must have the archive's own CRC.

    Raises:
        DataError: the file is damaged, floats do not lie in 0..1, or bytes are 0 and 1, nearly black.
    """
    if isinstance(images, NpzRows):
        low, high = images.extremes()
    else:
        low, high = float(images.min()), float(images.max())
    if images.dtype == np.uint8:
        if high == 1:
            raise DataError(
                f"{option}: images in {path} are bytes of 0 and 1, where 255 is white, so that all are black; save "
                "them times 255, or as floats in 0..1"
            )
    elif math.isnan(low) or math.isnan(high):
        raise DataError(f"{option}: images in {path} hold NaN; save numbers alone, floats in 0..1 or uint8")
    elif not (low >= 0 and high <= 1):
        raise DataError(
            f"{option}: images in {path} lie between {_exact(low)} and {_exact(high)}; save floats in 0..1, not "
            "normalized, or uint8"
        )


def _exact(value: float) -> str:
    """A bound of pixels, in so many digits that 1.0000001 does not read as 1."""
    return short_number(value, 6) if short_number(value, 6) not in ("0", "1") else f"{value:.9g}"
