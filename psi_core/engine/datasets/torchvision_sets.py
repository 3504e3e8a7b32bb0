"""torchvision's own data sets, from a local folder or downloaded into it."""

import inspect
import socket
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image

from psi_core.engine.datasets.picture_set import PictureDataset
from psi_core.errors import DataError, unknown_name
from psi_core.paths import cache_directory

_DOWNLOAD_TIMEOUT_SECONDS = 20.0

_LABELS = ("targets", "labels", "_labels", "y")
"""Where torchvision's sets keep their labels."""

_LACKING = (RuntimeError, OSError, ValueError)
"""What they raise where files are missing or cannot be downloaded."""


def load_torchvision(name: str, split: str, resize: int | None) -> PictureDataset:
    """The data set `torchvision:NAME`, from `@ROOT` or the cache folder; downloaded where it is missing.

    Raises:
        DataError: there is no such classification set, or it is neither there nor to be had.
    """
    member, _, place = name.partition(":")[2].partition("@")
    known = [each for each in torchvision.datasets.__all__ if isinstance(getattr(torchvision.datasets, each), type)]
    if member not in known:
        raise DataError(unknown_name("data", f"torchvision:{member}", [f"torchvision:{each}" for each in known]))
    root = Path(place).expanduser() if place else cache_directory() / "data"
    dataset = _made(getattr(torchvision.datasets, member), member, root, split)
    labels = _labels(dataset, member)
    count = int(labels.max(initial=-1)) + 1
    names = tuple(map(str, getattr(dataset, "classes", None) or range(count)))
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
        options: dict[str, Any] = {"train": split == "train"}
    elif "split" in parameters:
        options = {"split": "val" if member == "ImageNet" and split == "test" else split}
    else:
        raise DataError(f"data: torchvision's {member} has no test and train part; use folder: or npz: instead")
    try:
        return kind(str(root), **options)
    except _LACKING as error:
        missing = _first_line(error)
    if "download" not in parameters:
        raise DataError(f"data: torchvision's {member} is not below {root} ({missing}); put its files there")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_SECONDS)
    try:
        root.mkdir(parents=True, exist_ok=True)
        return kind(str(root), **options, download=True)
    except _LACKING as error:
        raise DataError(
            f"data: torchvision's {member} is not below {root} and cannot be downloaded ({_first_line(error)}); "
            f"put its files there, or name their folder with torchvision:{member}@FOLDER"
        ) from None
    finally:
        socket.setdefaulttimeout(before)


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
