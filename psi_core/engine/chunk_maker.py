"""Making a chunk: its batches through the fused step, their numbers gathered into the chunk's arrays."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from psi_core.chunks import Arrays
from psi_core.config import RunConfig
from psi_core.engine.channel_sums import ChannelSums
from psi_core.engine.datasets import Dataset, Reading, Unreadable, network_inputs, unreadable_error
from psi_core.engine.datasets.inputs import Readable
from psi_core.engine.devices import is_out_of_memory, precision
from psi_core.engine.gradients import input_gradient
from psi_core.engine.models import input_channels
from psi_core.engine.preparation import Prepared
from psi_core.engine.step import PER_IMAGE, FusedStep, StepPlan, StepResult
from psi_core.engine.treatments import treatments_of
from psi_core.errors import RunError


class LeftEarlyError(Exception):
    """The worker was told to leave after the batch; the open chunk is dropped."""


@dataclass(slots=True)
class OpenChunk:
    """A chunk being made.

    Attributes:
        positions: of its images in the data set; those that cannot be read leave it.
        values: float32 (row, image), rows as in StepResult; filled up to `done`.
        labels: int64 (image,), filled up to `done`.
        targets: likewise, of a targeted attack.
        channel_sums: by class.
        done: how many images are through.
    """

    positions: NDArray[np.int64]
    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    targets: NDArray[np.int64]
    channel_sums: ChannelSums
    done: int = 0


class ChunkMaker:
    """Makes chunks by one plan on one device.

    Args:
        step: the fused step.
        dataset: its labels are classes of the network.
        size: of the network's input in pixels.
        channels: that the network takes.
        device: where it runs.
        batch: images at a time; halved when memory runs out.
        given: images attacked elsewhere, or None.
        skips_unreadable: whether images that cannot be read are left out.

    Attributes:
        skipped: images left out so far.
    """

    def __init__(
        self,
        step: FusedStep,
        dataset: Dataset,
        size: int,
        channels: int,
        device: str,
        batch: int,
        given: Readable | None = None,
        skips_unreadable: bool = False,
    ) -> None:
        self.step = step
        self.plan: StepPlan = step.plan
        self.dataset = dataset
        self.size = size
        self.channels = channels
        self.device = device
        self.batch = batch
        self.given = given
        self.skips_unreadable = skips_unreadable
        self.skipped: list[Unreadable] = []

    def make(
        self, positions: range, after_batch: Callable[[OpenChunk], None], out_of_memory: Callable[[int, int], None]
    ) -> Arrays:
        """The finished arrays of one chunk.

        Args:
            positions: of its images.
            after_batch: called after every batch; may raise LeftEarlyError.
            out_of_memory: called with the old and the new batch size; the same images are then tried again.

        Raises:
            DataError: an image cannot be read.
            RunError: a layer answered an image with NaN or infinity, or one image alone does not fit in memory.
        """
        chunk = self._open(np.arange(positions.start, positions.stop))
        while chunk.done < len(chunk.positions):
            readings = self._read(chunk)
            rows = slice(chunk.done, min(chunk.done + self.batch, len(chunk.positions)))
            if rows.start == rows.stop:
                break
            try:
                result = self._run(chunk, rows, readings)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.batch == 1:
                    raise RunError("memory: one image alone does not fit on the device; lower --size") from error
                self.batch, before = self.batch // 2, self.batch
                if self.device.startswith("cuda"):
                    torch.cuda.empty_cache()
                out_of_memory(before, self.batch)
                continue
            self._take(chunk, rows, result)
            after_batch(chunk)
        return self.arrays(chunk)

    def arrays(self, chunk: OpenChunk) -> Arrays:
        """What a chunk file holds, of the images done so far."""
        plan, done = self.plan, chunk.done
        conditions = len(plan.conditions)
        values = chunk.values[:, :done].reshape(conditions, len(chunk.values) // conditions, done)
        arrays: Arrays = {"index": chunk.positions[:done], "label": chunk.labels[:done]}
        if plan.treatments.target != "none":
            arrays["target"] = chunk.targets[:done]
        for place, name in enumerate(PER_IMAGE):
            arrays[name] = np.ascontiguousarray(values[:, place])
        arrays["prediction"] = arrays["prediction"].astype(np.int64)
        layers = len(plan.layers)
        for place, name in enumerate(plan.measures):
            start = len(PER_IMAGE) + place * layers
            arrays[name] = np.ascontiguousarray(values[:, start : start + layers])
        if done == len(chunk.positions):
            present, counts = np.unique(chunk.labels[:done], return_counts=True)
            arrays |= {"class_labels": present, "class_counts": counts}
            for place, call in enumerate(plan.layers):
                arrays[f"class_sum/{call.name}"] = chunk.channel_sums.by_class(place, present)
                arrays[f"square_sum/{call.name}"] = chunk.channel_sums.squares(place)
        return arrays

    def sign_agreement(self, policy: str, images: int) -> float:
        """Share of the gradient's signs on the first batch that are the same at `policy` as at `exact`, 0..1.

        Args:
            policy: of precision.
            images: of the run.
        """
        first = self.first_images(images)
        if first is None:
            return math.nan
        inputs, labels, _ = first
        signs = []
        for each in (policy, "exact"):
            with precision(each, self.device):
                targets = None if self.plan.uses_predictions else labels
                signs.append(input_gradient(self.plan.model, inputs, targets)[1].sign())
        return float((signs[0] == signs[1]).float().mean())

    def first_images(self, images: int) -> tuple[Tensor, Tensor, Tensor] | None:
        """The first images of all, at most so many and at most a batch, with labels and positions, on the device.

        None where none of them can be read.
        """
        chunk, skipped = self._open(np.arange(min(self.batch, images))), len(self.skipped)
        readings = self._read(chunk)
        del self.skipped[skipped:]  # They are counted when their chunk is made.
        return self._inputs(chunk.positions, readings)[:3] if len(chunk.positions) else None

    def _open(self, positions: NDArray[np.int64]) -> OpenChunk:
        conditions, layers = len(self.plan.conditions), self.plan.layers
        rows = conditions * (len(PER_IMAGE) + len(layers) * (len(self.plan.measures) + 1))
        sums = ChannelSums(conditions, [call.shape[0] for call in layers], self.device)
        images = len(positions)
        labels, targets = np.zeros(images, np.int64), np.zeros(images, np.int64)
        return OpenChunk(positions, np.zeros((rows, images), np.float32), labels, targets, sums)

    def _read(self, chunk: OpenChunk) -> list[Reading]:
        """The next batch of every source; images that one of them cannot read leave the chunk."""
        sources = [self.dataset, *([self.given] if self.given is not None else [])]
        while True:
            positions = chunk.positions[chunk.done : chunk.done + self.batch]
            readings = [source.read(positions, self.size, self.channels) for source in sources]
            found = [each for reading in reversed(readings) for each in reading.unreadable]
            unreadable = {each.position: each for each in found}  # Of two reasons the benign image's.
            if not unreadable:
                return readings
            if not self.skips_unreadable:
                raise unreadable_error(next(iter(unreadable.values())))
            self.skipped += unreadable.values()
            chunk.positions = chunk.positions[~np.isin(chunk.positions, list(unreadable))]

    def _run(self, chunk: OpenChunk, rows: slice, readings: list[Reading]) -> StepResult:
        return self.step(*self._inputs(chunk.positions[rows], readings))

    def _inputs(
        self, positions: NDArray[np.int64], readings: list[Reading]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Images as the network takes them, their labels, their positions and the given images, on the device."""
        images, *given = (
            network_inputs(torch.from_numpy(each.pixels).to(self.device, non_blocking=True), self.size, self.channels)
            for each in readings
        )
        labels = torch.from_numpy(self.dataset.labels[positions]).to(self.device, non_blocking=True)
        indices = torch.from_numpy(positions).to(self.device, non_blocking=True)
        return images, labels, indices, given[0] if given else None

    def _take(self, chunk: OpenChunk, rows: slice, result: StepResult) -> None:
        chunk.values[:, rows] = result.values.cpu().numpy()
        chunk.labels[rows] = result.labels.cpu().numpy()
        if result.targets is not None:
            chunk.targets[rows] = result.targets.cpu().numpy()
        chunk.done = rows.stop
        self._require_finite(chunk, rows)
        chunk.channel_sums.add(chunk.labels[rows], result.channel_means)

    def _require_finite(self, chunk: OpenChunk, rows: slice) -> None:
        conditions, layers = self.plan.conditions, self.plan.layers
        values = chunk.values[:, rows].reshape(len(conditions), -1, rows.stop - rows.start)
        is_finite = values[:, -len(layers) :]
        for condition, layer, image in np.argwhere(is_finite == 0)[:1]:
            raise RunError(
                f"layer {layers[layer].name}: image {chunk.positions[rows][image]} under {conditions[condition].name} "
                "makes it respond with NaN or infinity; check the weights, or use --precision exact"
            )


def make_chunk_maker(config: RunConfig, prepared: Prepared, device: str) -> ChunkMaker:
    """What makes the chunks of a resolved run on one device, where its classifier already is."""
    assert config.size is not None and isinstance(config.batch, int), "a run's configuration is resolved"
    plan = StepPlan(
        model=prepared.classifier,
        layers=prepared.calls,
        trace=prepared.trace,
        treatments=treatments_of(config),
        measures=config.measures,
        unit=config.unit,
        rectify=config.rectify,
        uses_predictions=config.labels == "predicted",
    )
    is_cuda = device.startswith("cuda")
    step = FusedStep(plan, synchronize=partial(torch.cuda.synchronize, device)) if is_cuda else FusedStep(plan)
    channels = input_channels(prepared.classifier.network)
    return ChunkMaker(
        step,
        prepared.dataset,
        config.size,
        channels,
        device,
        config.batch,
        prepared.given,
        config.skip_unreadable,
    )
