"""Pictures in folders, one folder a class (torchvision's ImageFolder layout)."""

from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from psi_core.engine.datasets.picture_set import PictureDataset
from psi_core.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"})
_PARTS = {"test": ("test", "val", "validation"), "train": ("train", "training")}

_NAMES_OF_PARTS = frozenset(name for names in _PARTS.values() for name in names)


def load_folder(name: str, root: Path, split: str, resize: int | None) -> PictureDataset:
    """The pictures of a folder, every class in turn, files of a class by name.

    Where the folder has a part `test`, `val` or `train` with folders in it, that part is taken. Pictures that lie in
    the folder itself are of one class, which only `--labels predicted` can use.

    Raises:
        DataError: it is not there, holds no picture, or has no such part.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise DataError(
            f"data: there is no folder {root}; write folder: and the path of one with a folder for each class"
        )
    part = next((root / each for each in _PARTS[split] if _folders(root / each)), None)
    if part is None and split == "train":
        raise DataError(
            f"data: {root} has no part train to fit weights to; name a weights file with --weights, "
            "or make a folder train with a folder for each class"
        )
    top = part or root
    if part is None and _folders(top) and all(folder.name in _NAMES_OF_PARTS for folder in _folders(top)):
        raise DataError(
            f"data: {root} has no part {split} with a folder for each class; make these, or write the path of one part"
        )
    classes = {folder.name: pictures_below(folder) for folder in _folders(top)}
    classes = {each: files for each, files in classes.items() if files}
    if not classes:
        flat = pictures_below(top)
        if not flat:
            raise DataError(f"data: {top} holds no picture; write a folder with a folder for each class")
        classes = {"unlabeled": flat}
    numbered = ([(number, file) for file in files] for number, files in enumerate(classes.values()))
    in_turn = [one for one in chain.from_iterable(zip_longest(*numbered)) if one is not None]
    files = tuple(file for _, file in in_turn)
    return PictureDataset(
        name,
        np.array([number for number, _ in in_turn], np.int64),
        tuple(classes),
        tuple(str(file.absolute()) for file in files),
        tuple(str(file.relative_to(top)) for file in files),
        resize,
    )


def pictures_below(folder: Path) -> list[Path]:
    """Every picture in a folder and the folders in it, by name; hidden ones are passed over."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
