"""The door to every data set, by the name that a run's configuration gives it."""

from pathlib import Path

from psi_core.config import DATA_NAMES
from psi_core.engine.datasets.dataset import Dataset
from psi_core.engine.datasets.folder import load_folder
from psi_core.engine.datasets.mnist import load_mnist
from psi_core.engine.datasets.npz import load_npz
from psi_core.engine.datasets.torchvision_sets import load_torchvision
from psi_core.errors import DataError, unknown_name


def load_dataset(name: str, split: str, resize: int | None = None) -> Dataset:
    """The data set `mnist`, `folder:PATH`, `npz:PATH`, `torchvision:NAME` or `torchvision:NAME@ROOT`.

    Args:
        name: of the data set.
        split: `test` or `train`.
        resize: shorter edge in pixels to which pictures of files are brought before their center is cut out; the
            network's input size by default.

    Raises:
        DataError: it is not there, is damaged, or has no such part.
    """
    if name == "mnist":
        return load_mnist(split)
    kind, _, place = name.partition(":")
    if kind == "npz":
        return load_npz(name, Path(place), split)
    if kind == "folder":
        return load_folder(name, Path(place), split, resize)
    if kind == "torchvision":
        return load_torchvision(name, split, resize)
    raise DataError(unknown_name("data", name, DATA_NAMES))


def absolute_data(name: str) -> str:
    """The name with its path absolute, so that a run can be resumed from anywhere."""
    kind, _, place = name.partition(":")
    if kind in ("folder", "npz"):
        return f"{kind}:{Path(place).expanduser().absolute()}"
    member, at, root = place.partition("@")
    return f"{kind}:{member}@{Path(root).expanduser().absolute()}" if at else name
