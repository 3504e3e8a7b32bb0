"""Images into files, batch by batch, so that any number of them takes the memory of one batch."""

import zipfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from psi_core.paths import temporary_beside


class ImageArchive:
    """An `.npz` of float32 `images` that grows batch by batch, and of small arrays written at once.

    Nothing stands under its name before the block is left; nothing at all where the block fails.

    Args:
        path: of the archive.
        shape: of all images, (image, height, width) or (image, height, width, channel).
        others: the small arrays by name.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], others: dict[str, NDArray[np.generic]]) -> None:
        self._path = path
        self._temporary = temporary_beside(path)
        self._zip = zipfile.ZipFile(self._temporary, "w", zipfile.ZIP_STORED)
        for name, array in others.items():
            with self._zip.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        self._file = self._zip.open("images.npy", "w", force_zip64=True)
        header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._zip.close()
        if kind is None:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink(missing_ok=True)

    def add(self, images: NDArray[np.float32]) -> None:
        """Appends images of the shape that was promised."""
        self._file.write(np.ascontiguousarray(images, np.float32).tobytes())


def write_pictures(folder: Path, names: list[str], images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Writes images as PNG of 8 bits, and gives them as these files hold them, in 0..1.

    Args:
        folder: to write into; folders in names are made.
        names: path of each below the folder, without an ending.
        images: in 0..1, (image, height, width) or (image, height, width, 3).
    """
    rounded = np.rint(images * 255).astype(np.uint8)
    for name, pixels in zip(names, rounded, strict=True):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return rounded.astype(np.float32) / np.float32(255)
