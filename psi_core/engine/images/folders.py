"""Folders of pictures, a folder for each class: parts of the data are told from classes, and classes numbered."""

import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import Literal

import numpy as np

from psi_core.engine.images.pictures import PictureDataset, decoder_pool
from psi_core.errors import DataError, missing_file
from psi_core.files import is_folder, typed_path

ClassOrder = Literal["auto", "text", "number"]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"})

_PART_WORDS = {
    "test": (
        "test",
        "testing",
        "tests",
        "val",
        "valid",
        "validation",
        "validate",
        "eval",
        "evaluation",
        "dev",
        "holdout",
    ),
    "train": ("train", "training", "trn"),
}
"""What folders with a part of the data are called, the likeliest first, in any case."""

_FILLERS = (
    "",
    "set",
    "sets",
    "data",
    "dataset",
    "images",
    "image",
    "imgs",
    "img",
    "pictures",
    "split",
    "part",
    "folder",
)
"""What such names hold besides: `training_set`, `TestData`, `val2017`."""

_SAMPLED_PICTURES, _FEW_BITS = 8, 14
"""Pictures that are looked at, and bits up to which 16-bit files are taken for a sensor's 10, 12 or 14."""


def load_folder(
    name: str, root: Path, split: str, resize: int | None, class_order: ClassOrder = "auto"
) -> PictureDataset:
    """The pictures of a folder, one folder a class: one picture of each class in turn, those of a class by name.

    This is torchvision's ImageFolder layout. Where the folder has a part `test`, `val` or `train` with folders in it,
    that part is taken. Pictures in the folder itself are of one class, which only `--labels predicted` can use.

    Args:
        name: as the run's configuration names it.
        root: the folder.
        split: `test` or `train`.
        resize: shorter edge before the center is cut out, or None for the network's input size.
        class_order: `number` sorts classes by the numbers in their names, as timm does; else they are sorted as text.

    Raises:
        DataError: it is not there, holds no picture, has no such part, or folders of folders.
    """
    root = typed_path(root)
    if not is_folder(root):
        advice = "write folder: and the path of one with a folder for each class"
        raise DataError(missing_file("data", root, advice, "folder"))
    try:
        return _pictures_of(name, root, split, resize, class_order)
    except OSError as error:
        raise DataError(
            f"data: {error.filename or root} cannot be read ({error.strerror}); name a folder of pictures that can"
        ) from None


def _pictures_of(name: str, root: Path, split: str, resize: int | None, class_order: ClassOrder) -> PictureDataset:
    top = _part_of(root, split)
    folders = sorted(_folders(top), key=natural_key if class_order == "number" else None)
    found = {folder.name: pictures_below(folder) for folder in folders}
    classes = {each: files for each, files in found.items() if files}
    if not classes:
        flat = pictures_below(top)
        if not flat:
            raise DataError(f"data: {top} holds no picture; write a folder with a folder for each class")
        classes = {"unlabeled": flat}
    else:
        _refuse_folders_of_folders(top, classes)
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
        empty_classes=tuple(each for each, files in found.items() if not files),
    )


def natural_key(name: str | Path) -> list[tuple[int, int, str]]:
    """Sorts names by the numbers in them: class2 before class10, as timm sorts folders."""
    text = name.name if isinstance(name, Path) else name
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text.lower()) if part
    ]


def folder_notes(dataset: PictureDataset) -> list[str]:
    """What a run says of its folder: classes without a picture, and 16-bit pictures that use the lowest bits alone."""
    notes = []
    if dataset.empty_classes:
        notes.append(f"data: {dataset.name} has no picture in {_first_three(dataset.empty_classes)}")
    files = dataset.pictures if isinstance(dataset.pictures, tuple) else ()
    step = max(1, len(files) // _SAMPLED_PICTURES)
    sample = [file for file in files[::step][:_SAMPLED_PICTURES] if file]
    bits = [found for found in decoder_pool().bits(sample) if found]
    if bits and max(bits) <= _FEW_BITS:
        notes.append(
            f"data: pictures of {dataset.name} are 16-bit files that use {max(bits)} bits, while 65535 is taken for "
            f"white, so that they are dark; save them as 8 bits, or multiplied by {2 ** (16 - max(bits))}"
        )
    return notes


def _part_of(root: Path, split: str) -> Path:
    """The folder that holds a part's classes: one of the root's own, or the root where it has no parts.

    Raises:
        DataError: it has parts, and not this one.
    """
    folders = _folders(root)
    parts = {folder: part for folder in folders if (part := _part_named(folder.name))}
    with_classes = [folder for folder in parts if _folders(folder)]
    rank = _PART_WORDS[split].index
    wanted = [folder for folder in with_classes if parts[folder] in _PART_WORDS[split]]
    if wanted:
        return min(wanted, key=lambda folder: rank(parts[folder]))
    if split == "train":
        raise DataError(
            f"data: {root} has no part train; make a folder train with a folder for each class, or write --split test, "
            "and in place of fitted weights name a file with --weights"
        )
    if folders and (len(parts) == len(folders) or with_classes):
        there = ", ".join(folder.name for folder in parts)
        raise DataError(
            f"data: {root} has no part {split} with a folder for each class but {there}; make these, or write the "
            f"path of one part, such as folder:{(with_classes or folders)[0]}"
        )
    return root


def _part_named(name: str) -> str:
    """The word in a folder's name that says which part of the data it holds; empty where it says more than that."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^a-zA-Z\d\W_]+", name)
    found = ""
    for word in map(str.lower, words):
        known = [
            each
            for each in chain(*_PART_WORDS.values())
            if word.removeprefix(each) in _FILLERS and word.startswith(each)
        ]
        if known and not found:
            found = max(known, key=len)
        elif word not in _FILLERS:
            return ""
    return found


def _refuse_folders_of_folders(top: Path, classes: dict[str, list[Path]]) -> None:
    """Refuses classes of which none holds a picture itself; tiny-imagenet's `CLASS/images` is no such case.

    Raises:
        DataError: they are folders of folders.
    """
    if any(file.parent == top / each for each, files in classes.items() for file in files):
        return
    inner = {each: tuple(folder.name for folder in _folders(top / each)) for each in classes}
    if len(classes) > 1 and len(set(inner.values())) == 1 and all(len(names) == 1 for names in inner.values()):
        return
    first = next(each for each in classes)
    raise DataError(
        f"data: {top} holds folders of folders only ({_first_three(classes)}), so that it is not sure which are the "
        f"classes; write the path of a part, such as folder:{top / first}"
    )


def _first_three(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")


def pictures_below(folder: Path) -> list[Path]:
    """Every picture in a folder and the folders in it, by name; links are followed, hidden files left out."""
    return sorted(path for path in _files_below(folder, set()) if path.suffix.lower() in SUFFIXES and path.is_file())


def _files_below(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Files of a folder and below. A folder is read once, and a link to one that holds it is not followed."""
    real = folder.resolve()
    seen.add(real)
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"data: {folder} cannot be read ({error.strerror}); write a folder that can") from None
    for entry in shown:
        path = folder / entry.name
        if not entry.is_dir():
            yield path
        elif (target := path.resolve()) not in seen and target not in real.parents:
            yield from _files_below(path, seen)


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
