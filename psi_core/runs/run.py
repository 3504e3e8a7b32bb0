"""A run directory as its readers see it: configuration, layers, status and results."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import EPSILON_ROUNDING, Condition
from psi_core.errors import RunError, unknown_name
from psi_core.files import is_example
from psi_core.runs.chunks import (
    Arrays,
    ClassSums,
    add_channel_sums,
    add_class_sums,
    add_square_sums,
    chunk_count,
    chunk_range,
    finished_chunks,
)
from psi_core.runs.labels import load_label
from psi_core.runs.loading import (
    CONFIG_DIGEST,
    LayerInfo,
    layers_digest,
    load_description,
    load_layers,
    load_object,
    load_positions,
)
from psi_core.runs.notebook import dataframe_of, dataset_of
from psi_core.runs.seals import ChunkForm, ConfigChangedError, Origin, read_chunk, read_preview
from psi_core.runs.status import LIVE, Status, StatusReader, status_of

MOVED = "moved or deleted elsewhere; choose another run"
"""What is said of a run that is no longer where it was read."""


class Run:
    """A run directory. Reading it never locks or writes; arrays are read when first asked for.

    Attributes:
        directory: the run directory.
        id: its identity, which is also the directory's name.
        created: when, ISO 8601 with time zone.
        config: what it computes.
        fingerprint: SHA-256 of `config.json` but for the name, which may change: whoever edits it makes another run.
        is_sealed: whether each of its chunks carries digests, as those of older versions do not.
        label: what a person said of it, when this object was made: a name in the place of its own, tags, a note.
    """

    def __init__(self, directory: str | os.PathLike[str], *, preview: bool = False) -> None:
        self.directory = Path(directory)
        self._with_preview = preview
        self._arrays: Arrays = {}
        found = load_description(self.directory)
        self.id, self.created, self.created_at = found.id, found.created, found.created_at
        self.config, self.fingerprint, self.is_sealed = found.config, found.fingerprint, found.is_sealed
        self.label = load_label(self.directory)

    @property
    def name(self) -> str:
        """The name of the run: the one that it was given later, else that of its configuration, else its id."""
        return self.label.name or self.config.name or self.id

    @property
    def tags(self) -> tuple[str, ...]:
        """Words that a person put on the run."""
        return self.label.tags

    @property
    def note(self) -> str:
        """What a person noted of the run, in one paragraph; mostly empty."""
        return self.label.note

    @property
    def is_example(self) -> bool:
        """Whether it ships with the package."""
        return is_example(self.directory)

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions in order, benign first: the first axis of every result."""
        return [condition.name for condition in self.config.conditions]

    @property
    def condition_details(self) -> tuple[Condition, ...]:
        """The same conditions with attack, epsilon and control.

        External images are compared with the run's first control at the epsilon that equals their largest change, where
        there is one.
        """
        return tuple(self._with_control(each) if each.is_external else each for each in self.config.conditions)

    def _with_control(self, external: Condition) -> Condition:
        try:
            largest = float(self.array("linf")[self.conditions.index(external.name)].max())
        except RunError:  # No results yet.
            return external
        first = next(iter(self.config.controls), None)
        sized = (each for each in self.config.conditions if each.attack == first)
        return replace(
            external, control=next((c.name for c in sized if abs(c.epsilon - largest) <= EPSILON_ROUNDING), None)
        )

    @cached_property
    def layer_infos(self) -> tuple[LayerInfo, ...]:
        """The tapped layers in forward order."""
        return load_layers(self.directory)

    @property
    def layers(self) -> list[str]:
        """Names of the tapped layers in forward order: the second axis of every measure."""
        return [layer.name for layer in self.layer_infos]

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures, `psi` first."""
        return self.config.measures

    @property
    def model(self) -> dict[str, Any]:
        """`model.json`: source, SHA-256, class names, fit card; empty until the weights are ready."""
        return load_object(self.directory / "model.json")

    @property
    def card(self) -> dict[str, Any]:
        """`card.json` of a shipped example: what it is, and the `command` that makes it again; empty elsewhere."""
        return load_object(self.directory / "card.json")

    @property
    def images(self) -> int:
        """Number of images of the whole run."""
        return self.config.images

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Positions in the data set of all images of the run, (image,), ascending: the first ones, or its sample.

        Raises:
            RunError: the file of the sample is damaged.
        """
        sample = self._sample
        return np.arange(self.images) if sample is None else sample

    @cached_property
    def _sample(self) -> NDArray[np.int64] | None:
        return load_positions(self.directory, self.images)

    def chunk_positions(self, number: int) -> NDArray[np.int64]:
        """Positions in the data set of the images of one chunk, (image,), ascending."""
        places = chunk_range(number, self.images, self.config.chunk)
        return (
            np.arange(places.start, places.stop) if self._sample is None else self.positions[places.start : places.stop]
        )

    def chunk_of(self, position: int) -> int | None:
        """Number of the chunk with the image at a position in the data set; None where it is none of the run's."""
        place = int(np.searchsorted(self.positions, position))
        has_it = place < self.images and self.positions[place] == position
        return place // self.config.chunk if has_it else None

    @property
    def chunks(self) -> int:
        """Number of chunks of the whole run."""
        return chunk_count(self.images, self.config.chunk)

    def chunk_images(self, number: int) -> int:
        """How many images one chunk has."""
        return len(chunk_range(number, self.images, self.config.chunk))

    @property
    def finished_chunks(self) -> list[int]:
        """Numbers of its chunks that are there now, ascending; files of other numbers are none of its own."""
        return [number for number in finished_chunks(self.directory) if number < self.chunks]

    @property
    def missing_chunks(self) -> list[int]:
        """Numbers of the chunks still to be made."""
        return sorted(set(range(self.chunks)) - set(self.finished_chunks))

    @property
    def images_done(self) -> int:
        """How many of its images lie in chunks that are there now."""
        return sum(map(self.chunk_images, self.finished_chunks))

    @property
    def status(self) -> Status:
        """What its files say now: running, done, failed, stopped, queued or lost."""
        return status_of(self.directory, self.chunks, StatusReader(self.directory).poll())

    def why_not_resumed(self) -> str:
        """Why workers must not go on with it, in words that follow its name; empty where they find something to do."""
        if self.is_example:
            return "ships with psi-tui and is read-only; start one of your own"
        status = self.status
        if status in LIVE:
            return f"is {status}; see it with psi-tui watch {self.id}"
        return "is finished; nothing to resume" if status == "done" and not self.wrong_chunks() else ""

    @property
    def origin(self) -> Origin:
        """What its chunks were made by, as their seals hold it."""
        weights = self.model.get("sha256") or ""
        return Origin(self.id, self.fingerprint, layers_digest(self.directory), weights)

    @property
    def _form(self) -> ChunkForm:
        return ChunkForm(
            len(self.conditions), {layer.name: layer.channels for layer in self.layer_infos}, self.measures
        )

    def read_chunk(self, number: int, wanted: Callable[[str], bool] = lambda name: True) -> Arrays:
        """Arrays of a finished chunk, compared with its seal and with the run.

        Args:
            number: number of the chunk.
            wanted: whether the array of a name is read; all are by default.

        Raises:
            RunError: the chunk is gone, damaged, of another run or number, or `config.json` was changed after it.
        """
        positions = self.chunk_positions(number)
        return read_chunk(self.directory, self._origin, self._form, number, positions, wanted, is_sealed=self.is_sealed)

    def wrong_chunk(self, number: int) -> str:
        """Why a finished chunk cannot be used, in a sentence without advice; empty where all of it is right."""
        try:
            self.read_chunk(number)
        except ConfigChangedError as error:
            if CONFIG_DIGEST not in self.model:
                raise  # Nobody knows which of the two is the one that the run was begun with.
            return str(error).rpartition("; ")[0]
        except RunError as error:
            return str(error).rpartition("; ")[0]
        return ""

    def wrong_chunks(self) -> dict[int, str]:
        """Finished chunks that cannot be used, and why."""
        reasons = {number: self.wrong_chunk(number) for number in self._finished}
        return {number: reason for number, reason in reasons.items() if reason}

    def require_there(self) -> None:
        """Refuses to go on with a run that was removed since it was read; one that is out of reach may come back.

        Raises:
            RunError: it was removed.
        """
        try:
            (self.directory / "config.json").stat()
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"{self.directory}: {MOVED}") from None
        except OSError:
            return

    def require_unchanged(self) -> None:
        """Refuses to go on with a configuration that was changed after the run was begun.

        Raises:
            RunError: it was, as `model.json` says.
        """
        begun = self.model.get(CONFIG_DIGEST)
        if begun is not None and begun != self.fingerprint:
            raise RunError(
                f"{self.directory / 'config.json'}: was changed after the run was begun; put it back as it was, or "
                "start a new run"
            )

    @cached_property
    def _origin(self) -> Origin:
        return self.origin

    @cached_property
    def _finished(self) -> list[int]:
        """Chunks that were finished when results were first asked for, so that all arrays have the same images."""
        return self.finished_chunks

    @cached_property
    def _previews(self) -> list[Arrays]:
        """Results of open chunks, but for images that a finished chunk has."""
        paths = sorted(self.directory.glob("preview-*.npz")) if self._with_preview else []
        seen = [self.read_chunk(number, "index".__eq__)["index"] for number in self._finished] if paths else []
        previews = []
        for path in paths:
            # Its worker may replace or remove it while we look: then the next look shows more.
            with contextlib.suppress(RunError):
                preview = read_preview(path, self._origin, self._form, self.positions, self.config.chunk)
                if preview["index"].size and not any(np.isin(preview["index"], index).any() for index in seen):
                    seen.append(preview["index"])
                    previews.append(preview)
        return previews

    @property
    def has_preview(self) -> bool:
        """Whether results of open chunks are among the results. They may change with every reading."""
        return self._with_preview and bool(self._previews)

    def _read(self, name: str) -> NDArray[Any]:
        """One array of all chunks and previews, joined along its last axis and kept."""
        if name not in self._arrays:
            parts = [self.read_chunk(number, name.__eq__) for number in self._finished] + self._previews
            if not parts:
                raise RunError(f"{self.name}: no results yet; wait for its first chunk, or resume it")
            if not all(name in part for part in parts):
                known = ("index", "label", "prediction", "confidence", "linf", "l2", *self.measures)
                raise RunError(unknown_name(f"results of {self.name}", name, known))
            joined = np.concatenate([part[name] for part in parts], axis=-1)
            if not joined.shape[-1]:
                raise RunError(f"{self.name}: none of its images so far could be read; see its log")
            self._arrays[name] = joined
        return self._arrays[name]

    def array(self, name: str) -> NDArray[Any]:
        """One array of the chunks, in image order, the image axis last.

        Args:
            name: `index`, `label`, `prediction`, `confidence`, `linf`, `l2` or a measure.

        Raises:
            RunError: there are no results yet, or none of that name.
        """
        order = np.argsort(self._read("index"), kind="stable")
        return self._read(name)[..., order]

    @property
    def psi(self) -> NDArray[np.float32]:
        """Population sparseness, float32 (condition, layer, image), 0..1; NaN where the layer is silent."""
        return self.array("psi")

    @property
    def index(self) -> NDArray[np.int64]:
        """Positions of the images in the data set, (image,), ascending."""
        return self.array("index")

    def beside(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of the images that stood beside these in their batches, as controls in pairs took them.

        Images pair in the order of their chunk; the last of an odd batch has the one before it, one alone has itself.

        Args:
            positions: positions in the data set, (image,).

        Raises:
            RunError: the chunk of one of them is not finished.
        """
        found: dict[int, int] = {}
        for number in self._finished:
            index = self.read_chunk(number, "index".__eq__)["index"]
            ranks = np.arange(len(index))
            beside = ranks ^ 1
            is_last = beside >= len(index)
            beside[is_last] = np.where(ranks[is_last] % self.config.batch == 0, ranks[is_last], ranks[is_last] - 1)
            found |= dict(zip(index.tolist(), index[beside].tolist(), strict=True))
        missing = [position for position in positions.tolist() if position not in found]
        if missing:
            raise RunError(f"{self.name}: image {missing[0]} is paired when its chunk is finished; wait for that")
        return np.array([found[position] for position in positions.tolist()], np.int64)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels that attacks and accuracy refer to, (image,)."""
        return self.array("label")

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Classes that the network chose, (condition, image)."""
        return self.array("prediction")

    def to_dataframe(self) -> Any:
        """The results as a pandas DataFrame, one row per condition, layer and image.

        Columns: `condition` and `layer` (ordered categories), `index` (position in the data set), `label`,
        `prediction`, `confidence` of the label's class (0..1), `linf` and `l2` (realized change, pixels in 0..1),
        `correct` (not where labels are the network's own predictions), and every measure; NaN where a layer is silent.

        Raises:
            PsiError: pandas is not installed.
            RunError: there are no results yet.
        """
        return dataframe_of(self)

    def to_xarray(self) -> Any:
        """The results as an xarray Dataset with the axes `condition`, `layer` and `image`.

        Measures are float32 (condition, layer, image); `prediction`, `confidence`, `linf` and `l2` are (condition,
        image). Coordinates: `attack` and `epsilon` of every condition, `units` of every layer, `label` of every image.

        Raises:
            PsiError: xarray is not installed.
            RunError: there are no results yet.
        """
        return dataset_of(self)

    def class_sums(self, layer: str) -> ClassSums:
        """Labels (k,), image counts (k,) and summed channel means (condition, k, channel) of one layer, by class.

        Raises:
            RunError: there is no such layer, or no chunk is finished: open ones have no sums.
        """
        return add_class_sums(self._parts(layer, "class_labels", "class_counts", f"class_sum/{layer}"), layer)

    def channel_sums(self, layer: str) -> tuple[int, NDArray[np.float64]]:
        """Image count and summed channel means (condition, channel) of one layer: `class_sums` without the classes.

        Raises:
            RunError: as of `class_sums`.
        """
        return add_channel_sums(self._parts(layer, "class_counts", f"class_sum/{layer}"), layer)

    def square_sums(self, layer: str) -> NDArray[np.float64] | None:
        """Sums of squared channel means of one layer over the images of `class_sums`, (condition, channel).

        Together they give the lifetime sparseness of channels. None where chunks of an older version lack them.

        Raises:
            RunError: as of `class_sums`.
        """
        return add_square_sums(self._parts(layer, f"square_sum/{layer}"), layer)

    @property
    def has_sums(self) -> bool:
        """Whether there are `class_sums`. An open chunk has none."""
        return bool(self._finished)

    def _parts(self, layer: str, *names: str) -> Iterator[Arrays]:
        """Some arrays of one layer, chunk by chunk."""
        if layer not in self.layers:
            raise RunError(unknown_name("layer", layer, self.layers))
        if not self.has_sums:
            raise RunError(f"{self.name}: no class sums yet; wait for its first chunk")
        return (self.read_chunk(number, names.__contains__) for number in self._finished)
