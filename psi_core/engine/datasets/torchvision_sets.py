"""torchvision's own data sets, from a local folder or downloaded into it."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from psi_core.engine.datasets.picture_set import PictureDataset
from psi_core.engine.downloads import patience
from psi_core.errors import DataError, unknown_name
from psi_core.paths import cache_directory

_PARTS = {"test": ("test", "val", "valid"), "train": ("train", "trainval")}
"""What sets call their parts, the likeliest first."""

_LABELS = ("targets", "labels", "_labels", "y")
"""Where torchvision's sets keep their labels."""

_LACKING = (RuntimeError, OSError)
"""What they raise where files are missing or cannot be downloaded."""


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
    root = Path(place).expanduser() if place else cache_directory() / "data"
    dataset = _made(getattr(torchvision.datasets, member), member, root, split)
    labels = _labels(dataset, member)
    count = int(labels.max(initial=-1)) + 1
    found = getattr(dataset, "wnids", None) or getattr(dataset, "classes", None) or range(count)
    names = tuple(str(each[0] if isinstance(each, tuple) else each) for each in found)
    return PictureDataset(
        name,
        labels,
        names if len(names) >= count else tuple(map(str, range(count))),
        lambda position: _picture(dataset, position),
        tuple(f"{member} {position}" for position in range(len(labels))),
        resize,
    )


def _made(kind: type, member: str, root: Path, split: str) -> Any:
    parameters = inspect.signature(kind).parameters
    if "train" in parameters:
        return _there_or_downloaded(kind, member, root, {"train": split == "train"})
    if "split" not in parameters:
        raise DataError(f"data: torchvision's {member} has no test and train part; use folder: or npz: instead")
    for part in _PARTS[split]:
        try:
            return _there_or_downloaded(kind, member, root, {"split": part})
        except ValueError as error:
            if isinstance(error, DataError):
                raise
    raise DataError(f"data: torchvision's {member} has no part {split}; use folder: or npz: instead")


def _there_or_downloaded(kind: type, member: str, root: Path, options: dict[str, Any]) -> Any:
    """The data set from its folder, else downloaded.

    Raises:
        DataError: it is not to be had.
        ValueError: an option is none of this set's.
    """
    try:
        return kind(str(root), **options)
    except _LACKING as error:
        missing = _first_line(error)
    if "download" not in inspect.signature(kind).parameters:
        raise DataError(f"data: torchvision's {member} is not below {root} ({missing}); put its files there")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with patience():
            return kind(str(root), **options, download=True)
    except _LACKING as error:
        raise DataError(
            f"data: torchvision's {member} is not below {root} and cannot be downloaded ({_first_line(error)}); "
            f"put its files there, or name their folder with torchvision:{member}@FOLDER"
        ) from None


def _labels(dataset: Any, member: str) -> NDArray[np.int64]:
    found = next((getattr(dataset, name) for name in _LABELS if hasattr(dataset, name)), None)
    if found is None and hasattr(dataset, "_samples"):
        found = [label for _, label in dataset._samples]
    if found is None:
        found = [dataset[position][1] for position in range(len(dataset))]
    labels = found.numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"data: torchvision's {member} has no class number for each image; use folder: or npz: instead")
    return labels.astype(np.int64)


def _picture(dataset: Any, position: int) -> Image.Image:
    image: Image.Image = dataset[position][0]
    return image


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
