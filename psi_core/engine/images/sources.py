"""Where data sets come from: bundled MNIST, torchvision's own sets, and those that have a module of their own.

`load_dataset`, at the end, takes any of them by the name that a run's configuration gives it. Archives are read in
`npz`, folders of pictures in `folders`.
"""

import gzip
import inspect
import lzma
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from psi_core.config import DATA_NAMES
from psi_core.engine.devices import patience
from psi_core.engine.images.dataset import ArrayDataset, Dataset
from psi_core.engine.images.folders import ClassOrder, load_folder
from psi_core.engine.images.npz import load_npz
from psi_core.engine.images.pictures import PictureDataset
from psi_core.engine.images.waiting import awaited
from psi_core.errors import DataError, unknown_name
from psi_core.files import PACKAGE_DATA, cache_directory, typed_path

_IDX_UNSIGNED_BYTE = b"\x08"
"""Type of the elements, the third byte of an IDX file."""


def load_mnist(split: str) -> ArrayDataset:
    """The 10,000 `test` or the 60,000 `train` digits.

    Raises:
        DataError: its files are damaged.
    """
    images_file, labels_file = _mnist_files(split)
    images, labels = _read_idx(images_file), _read_idx(labels_file).astype(np.int64)
    return ArrayDataset("mnist", images, labels, tuple(str(digit) for digit in range(10)))


def _mnist_files(split: str) -> tuple[Path, Path]:
    """Files of the images and of their labels."""
    part, ending = {"test": ("t10k", "gz"), "train": ("train", "xz")}[split]
    folder = PACKAGE_DATA / "mnist"
    return folder / f"{part}-images-idx3-ubyte.{ending}", folder / f"{part}-labels-idx1-ubyte.gz"


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """An array of unsigned bytes from a compressed IDX file."""
    try:
        data = (lzma if path.suffix == ".xz" else gzip).decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path}: cannot be read ({error}); install psi-tui again") from None
    start = 4 + 4 * data[3] if len(data) > 3 else 4
    shape = tuple(int.from_bytes(data[place : place + 4], "big") for place in range(4, start, 4))
    if data[2:3] != _IDX_UNSIGNED_BYTE or len(data) - start != math.prod(shape):
        raise DataError(f"{path}: not an IDX file of unsigned bytes; install psi-tui again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


_SPLITS = {"test": ("test", "val", "valid"), "train": ("train", "trainval")}
"""What torchvision's sets call their parts, the likeliest first."""

_LABEL_ATTRIBUTES = ("targets", "labels", "_labels", "y")
"""Where torchvision's sets keep their labels."""

_MISSING = (RuntimeError, OSError)
"""What torchvision's sets raise where files are missing or cannot be downloaded."""


def load_torchvision(name: str, split: str, resize: int | None) -> PictureDataset:
    """The data set `torchvision:NAME`, from `@ROOT` or the cache folder; downloaded where it is missing.

    Raises:
        DataError: there is no such classification set, or it is neither there nor to be had.
    """
    import torchvision  # Not at the top: it takes as long to load as torch does.

    member, _, place = name.partition(":")[2].partition("@")
    known = [each for each in torchvision.datasets.__all__ if isinstance(getattr(torchvision.datasets, each), type)]
    if member not in known:
        raise DataError(unknown_name("data", f"torchvision:{member}", [f"torchvision:{each}" for each in known]))
    root = typed_path(place) if place else cache_directory() / "data"
    dataset = _torchvision_part(getattr(torchvision.datasets, member), member, root, split)
    labels = _labels(dataset, member)
    count = int(labels.max(initial=-1)) + 1
    found = getattr(dataset, "wnids", None) or getattr(dataset, "classes", None) or range(count)
    names = tuple(str(each[0] if isinstance(each, tuple) else each) for each in found)
    return PictureDataset(
        name,
        labels,
        names if len(names) >= count else tuple(map(str, range(count))),
        lambda position: dataset[position][0],
        tuple(f"{member} {position}" for position in range(len(labels))),
        resize,
    )


def _torchvision_part(kind: type, member: str, root: Path, split: str) -> Any:
    """The part of a data set, by whatever its class calls that part.

    Raises:
        DataError: it has no such part, or is not to be had.
    """
    parameters = inspect.signature(kind).parameters
    if "train" in parameters:
        return _local_or_downloaded(kind, member, root, {"train": split == "train"})
    if "split" not in parameters:
        raise DataError(f"data: torchvision's {member} has no test and train part; use folder: or npz: instead")
    for part in _SPLITS[split]:
        try:
            return _local_or_downloaded(kind, member, root, {"split": part})
        except ValueError as error:
            if isinstance(error, DataError):
                raise
    raise DataError(f"data: torchvision's {member} has no part {split}; use folder: or npz: instead")


def _local_or_downloaded(kind: type, member: str, root: Path, options: dict[str, Any]) -> Any:
    """The data set from its folder, else downloaded.

    Raises:
        DataError: it is not to be had.
        ValueError: an option is none of this set's.
    """
    try:
        return awaited(lambda: kind(str(root), **options), str(root))
    except _MISSING as error:
        missing = _first_line(error)
    if "download" not in inspect.signature(kind).parameters:
        raise DataError(f"data: torchvision's {member} is not below {root} ({missing}); put its files there")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with patience():
            return kind(str(root), **options, download=True)
    except _MISSING as error:
        raise DataError(
            f"data: torchvision's {member} is not below {root} and cannot be downloaded ({_first_line(error)}); "
            f"put its files there, or name their folder with torchvision:{member}@FOLDER"
        ) from None


def _labels(dataset: Any, member: str) -> NDArray[np.int64]:
    """Class numbers, from where the set keeps them, or else by reading every image.

    Raises:
        DataError: there is not one class number for each image.
    """
    found = next((getattr(dataset, name) for name in _LABEL_ATTRIBUTES if hasattr(dataset, name)), None)
    if found is None and hasattr(dataset, "_samples"):
        found = [label for _, label in dataset._samples]
    if found is None:
        found = awaited(lambda: [dataset[position][1] for position in range(len(dataset))], member)
    labels = found.numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"data: torchvision's {member} has no class number for each image; use folder: or npz: instead")
    return labels.astype(np.int64)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def load_dataset(name: str, split: str, resize: int | None = None, class_order: ClassOrder = "auto") -> Dataset:
    """The data set `mnist`, `folder:PATH`, `npz:PATH`, `torchvision:NAME` or `torchvision:NAME@ROOT`.

    Args:
        name: as the run's configuration names it.
        split: `test` or `train`.
        resize: shorter edge in pixels to which pictures of files are brought before their center is cut out; the
            network's input size by default.
        class_order: order of a folder's classes, which numbers them.

    Raises:
        DataError: it is not there, is damaged, or has no such part.
    """
    if name == "mnist":
        return load_mnist(split)
    kind, _, place = name.partition(":")
    if kind == "npz":
        return awaited(lambda: load_npz(name, Path(place), split), place)
    if kind == "folder":
        return awaited(lambda: load_folder(name, Path(place), split, resize, class_order), place)
    if kind == "torchvision":
        return load_torchvision(name, split, resize)
    raise DataError(unknown_name("data", name, DATA_NAMES))


def dataset_size(name: str, split: str, resize: int | None = None) -> int:
    """How many images a data set of `load_dataset` has.

    Of the bundled digits only the labels are read: to unpack the training images takes longer than a short run.

    Raises:
        DataError: as `load_dataset` does.
    """
    return len(_read_idx(_mnist_files(split)[1])) if name == "mnist" else len(load_dataset(name, split, resize))


def absolute_data(name: str) -> str:
    """The name with its path absolute, so that a run can be resumed from anywhere."""
    kind, _, place = name.partition(":")
    if kind in ("folder", "npz", "npy"):
        return f"{kind}:{typed_path(place).absolute()}"
    member, at, root = place.partition("@")
    return f"{kind}:{member}@{typed_path(root).absolute()}" if at else name
