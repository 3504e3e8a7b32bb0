"""Making a chunk: its images through the fused step batch by batch, the device never waiting for a number."""

import contextlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from psi_core.conditions import Condition
from psi_core.config import ResolvedConfig
from psi_core.devices import Device
from psi_core.engine.attacks.gradients import input_gradient
from psi_core.engine.attacks.perturbations import perturbations_of
from psi_core.engine.devices import MEMORY_ERRORS, free_memory, is_out_of_memory, words_of
from psi_core.engine.images import Dataset, Unreadable, network_inputs
from psi_core.engine.images.inputs import Readable
from psi_core.engine.images.read_ahead import ChunkImages, Images, ReadAhead
from psi_core.engine.measure.abreast import StepsAbreast
from psi_core.engine.measure.compiled_step import CompiledStep
from psi_core.engine.measure.recorded_step import RecordedStep
from psi_core.engine.measure.step import FusedStep, StageSeconds, StepPlan
from psi_core.engine.models.sources import input_channels
from psi_core.engine.precision import precision
from psi_core.engine.preparation import Prepared
from psi_core.engine.work.open_chunk import HostCopy, LaterCopy, OpenChunk
from psi_core.errors import PsiError, RunError
from psi_core.runs.chunks import Arrays

Found = TypeVar("Found")

TakeMeans: TypeAlias = Callable[[slice, Sequence[Sequence[Tensor]]], None]
"""Takes the rows of a batch in its chunk, and per condition and layer its channel means, float64 (image, channel)."""


class LeftEarlyError(Exception):
    """The worker was asked to leave after the batch; the open chunk is dropped."""


@dataclass(slots=True)
class _Making:
    """A chunk that was begun.

    Attributes:
        chunk: what is known of it.
        images: those that it is made of.
        queued: batches that were begun, the oldest first, and their numbers, which are not taken in yet.
        skipped: images left out of it.
        is_read: whether no image is left to begin.
    """

    chunk: OpenChunk
    images: ChunkImages
    queued: deque[tuple[Images, HostCopy | LaterCopy]] = field(default_factory=deque)
    skipped: list[Unreadable] = field(default_factory=list)
    is_read: bool = False

    def put_back_queued(self) -> None:
        """Makes the images of all that is queued the next to be begun."""
        while self.queued:
            self.images.put_back(self.queued.pop()[0])
        self.is_read = False


class ChunkMaker:
    """Makes chunks by one plan on one device.

    Between one chunk and the next the device has work: batches of the next chunk are begun before the last numbers of
    one are taken in, and after its sums are on their way to the host.

    Args:
        step: the fused step.
        dataset: its labels are classes of the network.
        size: size of the network's input, in pixels.
        channels: channels of that input.
        device: device that runs the step.
        batch: images at a time; halved when memory runs out.
        external: images attacked elsewhere, or None.
        skips_unreadable: whether images that cannot be read are left out.
        abreast: how many batches are computed at once, on a CPU, each by one thread; 1 for one after the other, by all.

    Attributes:
        depth: how many batches wait or are computed while the numbers of one are taken in: on a GPU one, on a CPU none,
            or as many as are computed abreast.
        skipped: images left out of chunks that are made.
        sources: the data set, and images attacked elsewhere, if there are any.
    """

    def __init__(
        self,
        step: FusedStep,
        dataset: Dataset,
        size: int,
        channels: int,
        device: Device,
        batch: int,
        external: Readable | None = None,
        skips_unreadable: bool = False,
        abreast: int = 1,
    ) -> None:
        self.step = step
        self.plan: StepPlan = step.plan
        self.dataset = dataset
        self.size = size
        self.channels = channels
        self.device = device
        self.batch = batch
        self.depth = 1 if device.is_cuda else abreast if abreast > 1 else 0
        self._abreast = StepsAbreast(step, abreast) if abreast > 1 else None
        self.skipped: list[Unreadable] = []
        self.sources = [dataset, *([external] if external is not None else [])]
        self._ahead: _Making | None = None
        self._refusal = ""  # What was said when memory ran out.
        self._images = ReadAhead(self.sources, size, channels, device, skips_unreadable=skips_unreadable)

    @property
    def seconds(self) -> StageSeconds:
        """Seconds spent so far, by stage."""
        return self.step.seconds if self._abreast is None else self._abreast.seconds

    def make(
        self,
        positions: NDArray[np.int64],
        after_batch: Callable[[OpenChunk], None],
        out_of_memory: Callable[[int, int], None],
        following: NDArray[np.int64] | None = None,
        take_means: TakeMeans | None = None,
    ) -> Arrays:
        """The finished arrays of one chunk.

        Args:
            positions: positions of its images in the data set, ascending.
            after_batch: called after every batch; may raise LeftEarlyError.
            out_of_memory: called with the old and the new batch size; the same images are then tried again.
            following: positions of the chunk that is likely made next: its first images are read meanwhile, and where
                batches are queued, begun. `leave` drops them where it is not made.
            take_means: gets the channel means of every image, which the chunk itself sums by class, batch by batch;
                where memory runs out, the same ones again.

        Raises:
            DataError: an image cannot be read.
            RunError: a layer answered an image with NaN or infinity, or one image alone does not fit in memory.
        """
        try:
            with contextlib.nullcontext() if self._abreast is None else self._abreast.at_work():
                making = self._opened(positions, following)
                return self._made(making, after_batch, out_of_memory, take_means)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Drops what was begun of a chunk that is not made, and what the step holds on the device."""
        self._ahead = None
        self._images.forget()
        if self._abreast is not None:
            self._abreast.leave()
        self.step.let_go()

    def _opened(self, positions: NDArray[np.int64], following: NDArray[np.int64] | None) -> "_Making":
        """The chunk of these positions, as far as it was begun beside the one before; another one is dropped."""
        ahead, self._ahead = self._ahead, None
        images = self._images.open(positions, self.batch, following)
        is_begun = ahead is not None and ahead.images is images
        if ahead is not None and not is_begun and self._abreast is not None:
            self._abreast.leave()
        making = ahead if ahead is not None and is_begun else self._begun(images)
        if self.depth and self._images.announced is not None:
            self._ahead = self._begun(self._images.announced)
        return making

    def _begun(self, images: ChunkImages) -> "_Making":
        return _Making(OpenChunk.begun(self.plan, images.positions, self.device), images)

    def _made(
        self,
        making: "_Making",
        after_batch: Callable[[OpenChunk], None],
        out_of_memory: Callable[[int, int], None],
        take_means: TakeMeans | None,
    ) -> Arrays:
        while True:
            fits = self._fill_queue(making)
            if fits and making.is_read and not making.queued:
                self.skipped += making.skipped
                return making.chunk.arrays()
            fits &= self._take_in(making, 1 if fits else len(making.queued), after_batch, take_means)
            if fits and making.is_read and not making.queued:
                making.chunk.leave_device()
            if not fits and not self.step.give_back():
                if self._ahead is not None:  # It goes on as if it had not been begun: in batches of half the size.
                    self._ahead.put_back_queued()
                if self._abreast is not None:  # What was dropped is not to take the memory of what is tried now.
                    self._abreast.leave()
                self._halve(out_of_memory)

    def _fill_queue(self, making: "_Making") -> bool:
        """Begins batches until enough are queued, at the chunk's end those of the next; whether there was memory."""
        while len(making.queued) + (len(self._ahead.queued) if self._ahead is not None else 0) <= self.depth:
            if not making.is_read:
                if not self._begin_next(making):
                    return False
            elif self._ahead is not None and not self._ahead.is_read:
                self._begin_ahead(self._ahead)
            else:
                break
        return True

    def _begin_ahead(self, ahead: "_Making") -> None:
        """As `_begin_next`; what cannot be read or computed is left to that chunk's own turn, and is told then."""
        with contextlib.suppress(PsiError, OSError, RuntimeError):
            if self._begin_next(ahead):
                return
        self._ahead = None
        self._images.forget_announced()

    def _begin_next(self, making: "_Making") -> bool:
        """Begins the next batch of a chunk, if it has one left; whether the device had memory for it."""
        images = None
        try:
            images = self._next(making)
            if images is None:
                making.is_read = True
            else:
                making.queued.append((images, self._begin(images)))
        except MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise
            self._refusal = words_of(error)
        else:
            return True
        # Not while the error is there: what the step held on the device hangs on it.
        if images is not None:
            making.images.put_back(images)
        return False

    def _take_in(
        self,
        making: "_Making",
        count: int,
        after_batch: Callable[[OpenChunk], None],
        take_means: TakeMeans | None,
    ) -> bool:
        """Takes in the numbers of the first so many batches that are queued; whether the device had memory for it.

        Where it had not, the images of all that are left are the next to be taken.
        """
        chunk, queued = making.chunk, making.queued
        try:
            for _ in range(count):
                images, numbers = queued[0]
                # Before the chunk takes it in: whatever runs out of memory comes again as a whole.
                if take_means is not None:
                    take_means(slice(chunk.done, chunk.done + len(images)), numbers.channel_means)
                chunk.take(len(images), numbers)
                queued.popleft()
                del images, numbers  # Their channel means are the largest thing that a batch leaves.
                self.step.clock.settle()
                after_batch(chunk)
        except MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise
            self._refusal = words_of(error)
        else:
            return True
        making.put_back_queued()
        return False

    def _begin(self, images: Images) -> HostCopy | LaterCopy:
        if self._abreast is None:
            return HostCopy(self.step(*self._inputs(images)))
        return LaterCopy(self._abreast.begin(lambda: self._inputs(images)))

    def warm_up(self, positions: NDArray[np.int64]) -> None:
        """Runs the step once, on the first images: what it compiles, it compiles now.

        Where they do not fit on the device, their chunk finds that out again, halves the batch and says so.

        Args:
            positions: positions of the run's images.
        """
        try:
            first = self._images.read(positions[: self.batch])
            if len(first):
                self.step(*self._inputs(first))
        except MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise

    def sign_agreement(self, policy: str, positions: NDArray[np.int64]) -> float:
        """Share of the gradient's signs on the first batch that are the same at `policy` as at `exact`, 0..1.

        Args:
            policy: name of the precision policy.
            positions: positions of the run's images.
        """
        agreement = self.on_first_images(
            positions, lambda inputs, labels, _: self._compared_signs(policy, inputs, labels)
        )
        return math.nan if agreement is None else agreement

    def _compared_signs(self, policy: str, inputs: Tensor, labels: Tensor) -> float:
        signs = []
        for each in (policy, "exact"):
            with precision(each, self.device):
                targets = None if self.plan.uses_predictions else labels
                loss = self.plan.perturbations.iteration.loss
                signs.append(input_gradient(self.plan.model, inputs, targets, loss)[1].sign())
        return float((signs[0] == signs[1]).float().mean())

    def first_images(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor] | None:
        """The images at the first of these positions, at most a batch, with labels and positions, on the device.

        None where none of them can be read. As many as the device has memory for.
        """
        return self.on_first_images(positions, lambda *first: first)

    def on_first_images(
        self, positions: NDArray[np.int64], work: Callable[[Tensor, Tensor, Tensor], Found]
    ) -> Found | None:
        """What some work gives on the images at the first of these positions, at most a batch.

        Half as many are tried where the device has no memory for them, and so on. None where not one can be read or
        fits.

        Args:
            positions: positions in the data set.
            work: takes the images, their labels and their positions, on the device.
        """
        count = min(self.batch, len(positions))
        while count:
            try:
                first = self._images.read(positions[:count])
                return work(*self._inputs(first)[:3]) if len(first) else None
            except MEMORY_ERRORS as error:
                if not is_out_of_memory(error):
                    raise
            free_memory(self.device)
            count //= 2
        return None

    def _next(self, making: "_Making") -> Images | None:
        """The next batch; images that cannot be read leave the chunk."""
        images = making.images.take(self.batch)
        skipped = making.images.take_skipped()
        making.chunk.leave_out([each.position for each in skipped])
        making.skipped += skipped
        return images

    def _inputs(self, images: Images) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Images as the network takes them, their labels, their positions and the external images, on the device."""
        inputs, *external = (network_inputs(each, self.size, self.channels) for each in images.pixels)
        labels = torch.from_numpy(self.dataset.labels[images.positions]).to(self.device, non_blocking=True)
        indices = torch.from_numpy(images.positions).to(self.device, non_blocking=True)
        return inputs, labels, indices, external[0] if external else None

    def _halve(self, out_of_memory: Callable[[int, int], None]) -> None:
        if self.batch == 1 and self.depth:  # What was begun beside it took the memory.
            self.depth = 0
            free_memory(self.device)
            return
        if self.batch == 1:
            raise RunError(f"memory: one image alone does not fit on the device ({self._refusal}); lower --size")
        # Even as long as it can be: controls such as donor pair the images of a batch.
        half = self.batch // 2
        self.batch, before = max(1, half - half % 2), self.batch
        self.step.resize(self.batch)
        self._images.resize(self.batch)
        free_memory(self.device)
        out_of_memory(before, self.batch)


def make_chunk_maker(
    config: ResolvedConfig, prepared: Prepared, device: Device, conditions: tuple[Condition, ...] | None = None
) -> ChunkMaker:
    """What makes the chunks of a resolved run on one device, where its classifier already is.

    Args:
        config: configuration of the run.
        prepared: its network and images.
        device: the device.
        conditions: some of the run's, benign first, and the attacks whose size another one copies; None: all.
    """
    perturbations = perturbations_of(config)
    plan = StepPlan(
        model=prepared.classifier,
        layers=prepared.calls,
        trace=prepared.trace,
        perturbations=perturbations if conditions is None else replace(perturbations, conditions=conditions),
        measures=config.measures,
        unit=config.unit,
        rectify=config.rectify,
        uses_predictions=config.labels == "predicted",
    )
    return ChunkMaker(
        _step_of(plan, device, config, keeps_nothing=prepared.source.keeps_nothing),
        prepared.dataset,
        config.size,
        input_channels(prepared.classifier.network),
        device,
        config.batch,
        prepared.external,
        config.skip_unreadable,
        config.abreast,
    )


def _step_of(plan: StepPlan, device: Device, config: ResolvedConfig, *, keeps_nothing: bool) -> FusedStep:
    if config.compile:
        return CompiledStep(plan, device, config.batch)
    may_record = device.is_cuda and keeps_nothing and not any(each.is_foolbox for each in plan.conditions)
    return RecordedStep(plan, device, config.batch) if may_record else FusedStep(plan, device)
