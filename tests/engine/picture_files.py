"""Digits as picture files, for data sets of folders."""

from pathlib import Path

import numpy as np
from PIL import Image

from psi_core.engine.images.sources import load_mnist

DIGITS = load_mnist("test")


def digit_folder(root: Path, images: int = 40, suffix: str = ".png") -> list[int]:
    """Writes the first test digits into a folder a class; gives their positions in the order of the data set."""
    by_class: dict[int, list[int]] = {}
    for position in range(images):
        label = int(DIGITS.labels[position])
        by_class.setdefault(label, []).append(position)
        folder = root / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(DIGITS.images[position]).save(folder / f"{position:05}{suffix}")
    turns = range(max(map(len, by_class.values())))
    return [by_class[label][turn] for turn in turns for label in sorted(by_class) if turn < len(by_class[label])]


def colored(position: int) -> np.ndarray:
    """A digit in three colors, (28, 28, 3)."""
    digit = DIGITS.images[position]
    return np.stack([digit, 255 - digit, digit // 2], 2)
