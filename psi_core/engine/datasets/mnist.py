"""MNIST, which ships with the package whole."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from psi_core.engine.datasets.dataset import ArrayDataset
from psi_core.errors import DataError
from psi_core.paths import PACKAGE_DATA

_IDX_UNSIGNED_BYTE = b"\x08"


def load_mnist(split: str) -> ArrayDataset:
    """The 10,000 `test` or the 60,000 `train` digits.

    Raises:
        DataError: its files are damaged.
    """
    part = {"test": "t10k", "train": "train"}[split]
    folder = PACKAGE_DATA / "mnist"
    images = _read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = _read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)
    return ArrayDataset("mnist", images, labels, tuple(str(digit) for digit in range(10)))


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """An array of unsigned bytes from a gzipped IDX file."""
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); install psi-tui again") from None
    start = 4 + 4 * data[3] if len(data) > 3 else 4
    shape = tuple(int.from_bytes(data[place : place + 4], "big") for place in range(4, start, 4))
    if data[2:3] != _IDX_UNSIGNED_BYTE or len(data) - start != math.prod(shape):
        raise DataError(f"{path}: not an IDX file of unsigned bytes; install psi-tui again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
