"""The images that a run measured, made again and written: exact as float archives, rounded to 8 bits as PNG.

They are written batch by batch, so that any number of them takes the memory of one batch.
"""

import itertools
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from psi_core.conditions import Condition, file_word
from psi_core.devices import Device
from psi_core.engine.again.run_images import remake_images, reopen
from psi_core.engine.devices import (
    MEMORY_ERRORS,
    available_device,
    cpu_threads,
    current_device,
    device_note,
    free_memory,
    is_out_of_memory,
)
from psi_core.engine.images import Dataset
from psi_core.engine.images.dataset import ArrayDataset
from psi_core.engine.images.pictures import PictureDataset
from psi_core.engine.precision import precision
from psi_core.engine.preparation import Prepared
from psi_core.errors import ConfigError, RunError
from psi_core.files import temporary_beside
from psi_core.plain_text import counted, short_number
from psi_core.runs.run import Run


class ImageArchive:
    """An `.npz` whose float32 array `images` grows batch by batch.

    The file appears under its name when the block is left, and not at all where the block fails.

    Args:
        path: path of the archive.
        shape: shape of the array of all images, (image, height, width) or (image, height, width, channel).
        others: further arrays by name, small, written at once.
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
        """Appends images; all together have the `shape` of the archive."""
        self._file.write(np.ascontiguousarray(images, np.float32).tobytes())


def write_pictures(folder: Path, names: list[str], images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Writes images as PNG of 8 bits; gives them as the files hold them, in 0..1.

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


_ROUNDING = 1e-6
"""Error of a pixel's change, in 0..1, up to which a picture holds the attack."""


@dataclass(slots=True)
class _Rounding:
    """How far 8-bit pictures of one condition are from the attack that was measured, in 0..1.

    Attributes:
        exact: largest change of a pixel as measured.
        rounded: largest change between the benign and the attacked picture.
        error: largest difference of a pixel's change between the two.
    """

    exact: float = 0.0
    rounded: float = 0.0
    error: float = 0.0


@dataclass(slots=True)
class ImageExport:
    """An export under way: writes `images-CONDITION.npz` and `png/CONDITION/...`.

    Attributes:
        run: a run with results, whose weights are at hand.
        folder: to write into.
        formats: names from IMAGE_FORMATS.
        report: called with images done and to do.
    """

    run: Run
    folder: Path
    formats: tuple[str, ...]
    report: Callable[[int, int], None]
    _roundings: dict[str, _Rounding] = field(default_factory=dict)

    def write(self) -> list[str]:
        """Makes and writes all images of all conditions; gives the paths written.

        Raises:
            ConfigError: the folder cannot be written to.
            PsiError: the run's weights or images are missing now.
        """
        positions, device = self.run.index, available_device(self.run.config.device)
        prepared, config = reopen(self.run, device), self.run.config
        with (
            ExitStack() as archives,
            cpu_threads(config.threads),
            current_device(device),
            precision(config.precision, device),
        ):
            opened: dict[str, ImageArchive] = {}
            for rows, benign, made in self._remade(prepared, positions, device):
                for condition, images in zip(self.run.condition_details, made, strict=True):
                    self._write(condition, _pixels(images), _pixels(benign), rows, opened, archives, prepared.dataset)
                del benign, made
                self.report(rows.stop, len(positions))
        return self._paths()

    def _remade(
        self, prepared: Prepared, positions: NDArray[np.int64], device: Device
    ) -> Iterator[tuple[slice, Tensor, list[Tensor]]]:
        """Rows of the images, these images benign, and under every condition.

        A batch that does not fit on the device, where all conditions lie at once, is made in halves.

        Raises:
            RunError: one image alone does not fit, or a batch of foolbox's, which may change with its size.
        """
        conditions = self.run.condition_details
        waiting = deque(self._batches(positions))
        while waiting:
            rows = waiting.popleft()
            try:
                benign, _, made = remake_images(self.run, prepared, positions[rows], conditions)
                fits = True
            except MEMORY_ERRORS as error:
                if not is_out_of_memory(error):
                    raise
                fits = False
            if fits:
                yield rows, benign, made
                del benign, made  # Before the next ones are made.
                continue
            count = rows.stop - rows.start
            if count == 1 or any(each.is_foolbox for each in conditions):
                raise RunError(
                    f"memory: a batch of {count} under {counted(len(conditions), 'condition')} does not fit on the "
                    "device; free some of it, or export where there is more"
                )
            free_memory(device)
            middle = rows.start + count // 2
            waiting.extendleft((slice(middle, rows.stop), slice(rows.start, middle)))

    def warnings(self) -> list[str]:
        """One sentence for every condition that 8-bit pictures do not hold, and one for a device that was missing."""
        asked = self.run.config.device
        told = [note] if (note := device_note(asked, available_device(asked))) else []
        for name, each in self._roundings.items():
            exact, rounded, error = (255 * value for value in (each.exact, each.rounded, each.error))
            if each.error > _ROUNDING:
                told.append(
                    f"{name}: 8-bit pictures do not hold this attack; its largest change is {short_number(exact, 4)} "
                    f"gray levels as measured and {short_number(rounded, 4)} in the files, a pixel's is up to "
                    f"{short_number(error, 2)} off; measure the npz instead"
                )
        return told

    def _write(
        self,
        condition: Condition,
        images: NDArray[np.float32],
        benign: NDArray[np.float32],
        rows: slice,
        opened: dict[str, ImageArchive],
        archives: ExitStack,
        dataset: Dataset,
    ) -> None:
        name = condition.name
        if "npz" in self.formats:
            if name not in opened:
                shape = (len(self.run.index), *images.shape[1:])
                opened[name] = archives.enter_context(
                    ImageArchive(self._archive(name), shape, self._small_arrays(dataset))
                )
            opened[name].add(images)
        if "png" in self.formats:
            names = [_file_name(dataset, int(position)) for position in self.run.index[rows]]
            written = write_pictures(self.folder / "png" / file_word(name), names, images)
            shown = np.rint(benign * 255).astype(np.float32) / np.float32(255)
            found = self._roundings.setdefault(name, _Rounding())
            change, change_shown = images - benign, written - shown
            found.exact = max(found.exact, float(np.abs(change).max(initial=0)))
            found.rounded = max(found.rounded, float(np.abs(change_shown).max(initial=0)))
            found.error = max(found.error, float(np.abs(change_shown - change).max(initial=0)))

    def _small_arrays(self, dataset: Dataset) -> dict[str, NDArray[np.generic]]:
        """The small arrays of every archive; `index` is what the data set itself is paired by."""
        keys = dataset.keys if isinstance(dataset, ArrayDataset) else None
        index = self.run.index if keys is None else keys[self.run.index]
        others: dict[str, NDArray[np.generic]] = {"labels": self.run.labels, "index": index}
        names = self.run.model.get("class_names")
        return {**others, "class_names": np.array(names)} if names else others

    def _batches(self, positions: NDArray[np.int64]) -> Iterator[slice]:
        """Rows of the images, in the run's own batches of each chunk: an attack of foolbox may depend on its batch."""
        batch, chunk = self.run.config.batch, self.run.config.chunk
        borders = np.flatnonzero(np.diff(np.searchsorted(self.run.positions, positions) // chunk)) + 1
        for first, end in itertools.pairwise((0, *borders.tolist(), len(positions))):
            for start in range(first, end, batch):
                yield slice(start, min(start + batch, end))

    def _archive(self, condition: str) -> Path:
        return self.folder / f"images-{file_word(condition)}.npz"

    def _paths(self) -> list[str]:
        archives = [str(self._archive(name)) for name in self.run.conditions] if "npz" in self.formats else []
        return [*archives, *([str(self.folder / "png")] if "png" in self.formats else [])]


def export_images(
    run: Run, folder: Path, formats: Sequence[str], report: Callable[[int, int], None]
) -> tuple[list[str], list[str]]:
    """Writes the images of a run; gives the paths, and what `ImageExport.warnings` says of them.

    Args:
        run: a run with results.
        folder: to write into; made where it is missing.
        formats: names from IMAGE_FORMATS.
        report: called with images done and to do.

    Raises:
        ConfigError: the folder cannot be written to.
        PsiError: the run has no results, or its weights or images are missing now.
    """
    export = ImageExport(run, folder, tuple(formats), report)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return export.write(), export.warnings()
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written to ({error.strerror}); name another folder with --to") from None


def _file_name(dataset: Dataset, position: int) -> str:
    """Path of a picture below its condition's folder, without an ending: the data set's own, or its position."""
    if isinstance(dataset, PictureDataset):
        return str(PurePath(dataset.place_of(position)).with_suffix(""))
    return f"{position:06}"


def _pixels(images: Tensor) -> NDArray[np.float32]:
    """(image, height, width), or with color (image, height, width, 3)."""
    pixels: NDArray[np.float32] = images.detach().cpu().permute(0, 2, 3, 1).numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
