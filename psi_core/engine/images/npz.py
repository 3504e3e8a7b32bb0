"""Images and labels of a NumPy archive, `npz:PATH`, every array checked before it is used."""

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from psi_core.engine.images.dataset import ArrayDataset, Pixels
from psi_core.engine.images.npz_rows import NpzRows, damage_error, rows_of_member
from psi_core.errors import DataError

_CHANNELS = (1, 3)
_SMALL_ARRAYS = ("labels", "class_names", "index")

_DAMAGE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged archive raises; RuntimeError where it has a password or an unknown compression."""


def load_npz(name: str, path: Path, split: str) -> ArrayDataset:
    """Arrays `images`, `labels` and, where they are there, `class_names` and `index` of an `.npz` file.

    Without `labels` every image is of one class, which only `--labels predicted` can use. Without `class_names` classes
    are called by their numbers.

    Raises:
        DataError: it is not there, no archive, or its arrays do not fit.
    """
    if split == "train":
        raise DataError(f"data: {name} has no train part to fit weights to; name a weights file with --weights")
    images, arrays = read_npz(path, "data")
    keys = pairing_keys(arrays, len(images), str(path)) if "index" in arrays else None
    labels, class_names = _labels(arrays, len(images), path)
    require_valid_pixels(images, str(path))
    return ArrayDataset(name, images, labels, class_names, keys)


def _labels(arrays: dict[str, NDArray[Any]], images: int, path: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class numbers of an archive and what it calls its classes.

    Raises:
        DataError: labels are no class numbers, one for each image, or more than names.
    """
    labels = arrays.get("labels")
    if labels is None:
        return np.zeros(images, np.int64), ("unlabeled",)
    if labels.shape != (images,) or not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
        raise DataError(
            f"data: labels in {path} are {labels.dtype} {labels.shape}; save class numbers from 0 on, one for each of "
            f"the {images} images"
        )
    count = int(labels.max(initial=-1)) + 1
    names = tuple(str(each) for each in np.atleast_1d(arrays.get("class_names", np.arange(count))))
    if len(names) < count:
        raise DataError(f"data: {path} has labels up to {count - 1} and {len(names)} class_names; name every class")
    return labels.astype(np.int64), names


def read_npz(path: Path, option: Literal["data", "attacked"]) -> tuple[Pixels | NpzRows, dict[str, NDArray[Any]]]:
    """Images of an archive, and those of its arrays `labels`, `class_names` and `index` that are there.

    Images of np.savez stay in the file; those of np.savez_compressed, or in Fortran order, are read whole into memory.
    Other arrays are left unread, and pickled objects are never loaded. The images' values are not checked yet:
    `require_valid_pixels` does that.

    Args:
        path: path of the archive.
        option: option that names it, for messages.

    Raises:
        DataError: it is not there, no archive of arrays, or its images are none.
    """
    images: NDArray[Any] | NpzRows | None = None
    try:
        with path.expanduser().open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array")
            assert archive.zip is not None, "it is open"
            names = archive.files
            if "images.npy" in archive.zip.namelist():
                images = rows_of_member(path.expanduser(), file, archive.zip, "images.npy")
            if images is None and "images" in names:
                images = archive["images"]
            others = {name: archive[name] for name in _SMALL_ARRAYS if name in names}
    except FileNotFoundError:
        raise DataError(f"{option}: there is no file {path}; write npz: and the path of one") from None
    except _DAMAGE as error:
        raise damage_error(path, error) from None
    if images is None:
        raise DataError(f"{option}: {path} holds no array images but {sorted(names)}; save one with np.savez")
    return as_pixels(images, str(path)), others


def pairing_keys(arrays: dict[str, NDArray[Any]], images: int, where: str) -> NDArray[np.int64]:
    """What the images of an archive are paired by, int64 (image,): its array `index`, or their order.

    Raises:
        DataError: there is not one whole number for each image, or one comes twice.
    """
    index = arrays.get("index", np.arange(images))
    if index.shape != (images,) or not np.issubdtype(index.dtype, np.integer) or len(np.unique(index)) < images:
        raise DataError(f"data: index in {where} is {index.dtype} {index.shape}; save one position for each image")
    return index.astype(np.int64)


def as_pixels(images: NDArray[Any] | NpzRows, where: str) -> Pixels | NpzRows:
    """Images as bytes or float32, channels last.

    Raises:
        DataError: they have another shape or type.
    """
    shape, dtype = images.shape, images.file_dtype if isinstance(images, NpzRows) else images.dtype
    has_channels_last = len(shape) == 4 and shape[3] in _CHANNELS
    has_channels_first = len(shape) == 4 and not has_channels_last and shape[1] in _CHANNELS
    if not (len(shape) == 3 or has_channels_last or has_channels_first):
        raise DataError(
            f"data: images in {where} are {shape}; save (image, height, width), with 1 or 3 channels behind or before "
            "height and width where there are any"
        )
    if 0 in shape:
        raise DataError(f"data: {where} holds no image; save some")
    if dtype != np.uint8 and not np.issubdtype(dtype, np.floating):
        raise DataError(f"data: images in {where} are {dtype}; save uint8 in 0..255, or floats in 0..1")
    if isinstance(images, NpzRows):
        return replace(images, channels_first=has_channels_first)
    found = images.transpose(0, 2, 3, 1) if has_channels_first else images
    return found.astype(np.uint8, copy=False) if dtype == np.uint8 else found.astype(np.float32, copy=False)


def require_valid_pixels(images: Pixels | NpzRows, where: str) -> None:
    """Makes sure of the values of all images, in one pass; those in a file must have the archive's own CRC.

    Raises:
        DataError: the file is damaged, or floats do not lie in 0..1.
    """
    if isinstance(images, NpzRows):
        low, high = images.extremes()
    else:
        low, high = (0.0, 1.0) if images.dtype == np.uint8 else (float(images.min()), float(images.max()))
    if not (low >= 0 and high <= 1):  # Written so that NaN is refused too.
        raise DataError(
            f"data: images in {where} lie between {low:.4g} and {high:.4g}; save floats in 0..1, not normalized, "
            "or uint8"
        )
