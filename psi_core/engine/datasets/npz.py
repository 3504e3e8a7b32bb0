"""Images and labels from a NumPy archive."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psi_core.engine.datasets.dataset import ArrayDataset, Pixels
from psi_core.errors import DataError

_CHANNELS = (1, 3)


def load_npz(name: str, path: Path, split: str) -> ArrayDataset:
    """Arrays `images`, `labels` and, where they are there, `class_names` and `index` of an `.npz` file.

    Without `labels` every image is of one class, which only `--labels predicted` can use. Without `class_names` classes
    are called by their numbers.

    Raises:
        DataError: it is not there, no archive, or its arrays do not fit.
    """
    if split == "train":
        raise DataError(f"data: {name} has no train part to fit weights to; name a weights file with --weights")
    arrays = read_npz(path)
    if "images" not in arrays:
        raise DataError(f"data: {path} holds no array images but {sorted(arrays)}; save one with np.savez")
    images = checked_images(arrays["images"], str(path))
    keys = checked_index(arrays, len(images), str(path)) if "index" in arrays else None
    labels = arrays.get("labels")
    if labels is None:
        return ArrayDataset(name, images, np.zeros(len(images), np.int64), ("unlabeled",), keys)
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
        raise DataError(
            f"data: labels in {path} are {labels.dtype} {labels.shape}; save class numbers from 0 on, one for each of "
            f"the {len(images)} images"
        )
    count = int(labels.max(initial=-1)) + 1
    names = tuple(str(each) for each in np.atleast_1d(arrays.get("class_names", np.arange(count))))
    if len(names) < count:
        raise DataError(f"data: {path} has labels up to {count - 1} and {len(names)} class_names; name every class")
    return ArrayDataset(name, images, labels.astype(np.int64), names, keys)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an archive; pickled objects are never loaded.

    Raises:
        DataError: it is not there, or no archive of arrays.
    """
    try:
        with path.expanduser().open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array")
            return {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise DataError(f"data: there is no file {path}; write npz: and the path of one") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"data: {path} is no whole npz of plain arrays ({error}); save it with np.savez") from None


def checked_index(arrays: dict[str, NDArray[Any]], images: int, where: str) -> NDArray[np.int64]:
    """What the images of an archive are paired by: its array `index`, or their order.

    Raises:
        DataError: there is not one whole number for each image, or one comes twice.
    """
    index = arrays.get("index", np.arange(images))
    if index.shape != (images,) or not np.issubdtype(index.dtype, np.integer) or len(np.unique(index)) < images:
        raise DataError(f"data: index in {where} is {index.dtype} {index.shape}; save one position for each image")
    return index.astype(np.int64)


def checked_images(images: NDArray[Any], where: str) -> Pixels:
    """Images as bytes or float32 in 0..1, channels last.

    Raises:
        DataError: they have another shape, type or range.
    """
    shape = images.shape
    if images.ndim == 4 and shape[3] not in _CHANNELS and shape[1] in _CHANNELS:
        images = images.transpose(0, 2, 3, 1)
    elif images.ndim not in (3, 4) or (images.ndim == 4 and shape[3] not in _CHANNELS):
        raise DataError(
            f"data: images in {where} are {shape}; save (image, height, width), with 1 or 3 channels behind or before "
            "height and width where there are any"
        )
    if not images.size:
        raise DataError(f"data: {where} holds no image; save some")
    if images.dtype == np.uint8:
        return images.astype(np.uint8, copy=False)
    if not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"data: images in {where} are {images.dtype}; save uint8 in 0..255, or floats in 0..1")
    found = images.astype(np.float32, copy=False)
    low, high = float(found.min()), float(found.max())
    if not (low >= 0 and high <= 1):  # This way round NaN is refused too.
        raise DataError(
            f"data: images in {where} lie between {low:.4g} and {high:.4g}; save floats in 0..1, not normalized, "
            "or uint8"
        )
    return found
