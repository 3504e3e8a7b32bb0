"""A chunk being made: its arrays as far as they are filled, the sums over its channels, and what its file will hold.

The numbers of a batch leave the device in one copy, which nothing waits for until they are wanted.
"""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from psi_core.devices import Device
from psi_core.engine.devices import is_out_of_memory
from psi_core.engine.measure.step import StepPlan, StepResult
from psi_core.errors import RunError
from psi_core.runs.chunks import Arrays


class HostCopy:
    """The copy of one batch's numbers, under way.

    On CUDA it is queued behind the batch, into pinned memory, so that the next batch can be queued at once; on a CPU
    the numbers are there already.

    Args:
        result: result of a step.

    Attributes:
        channel_means: as in the result; they stay on the device.
    """

    def __init__(self, result: StepResult) -> None:
        self.channel_means = result.channel_means
        self._is_cuda = result.values.is_cuda
        self._values = self._host_copy(result.values)
        self._labels = self._host_copy(result.labels)
        self._targets = None if result.targets is None else self._host_copy(result.targets)
        if self._is_cuda:
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record(torch.cuda.current_stream(result.values.device))

    def wait(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64] | None]:
        """Values (row, image), labels (image,), and targets (image,) or None."""
        if self._is_cuda:
            self._copied.synchronize()
        targets = None if self._targets is None else self._targets.numpy()
        return self._values.numpy(), self._labels.numpy(), targets

    def _host_copy(self, values: Tensor) -> Tensor:
        return _on_its_way(values) if self._is_cuda else values


def _on_its_way(values: Tensor) -> Tensor:
    """A copy of a GPU's values in pinned memory, which is there once the device has come so far."""
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return host.copy_(values, non_blocking=True)


class LaterCopy:
    """The numbers of a batch that a thread computes.

    Args:
        result: what the thread will give.
    """

    def __init__(self, result: "Future[StepResult]") -> None:
        self._result = result

    @property
    def channel_means(self) -> Sequence[Sequence[Tensor]]:
        """As in the result."""
        return self._result.result().channel_means

    def wait(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64] | None]:
        """Values (row, image), labels (image,), and targets (image,) or None."""
        return HostCopy(self._result.result()).wait()


_MOST_PINNED = 2**26
"""Bytes of sums that are copied to pinned memory: ResNet-50's of 70 classes under five conditions."""


class ChannelSums:
    """Sums of every layer's channel means, float64 on the device, for the classes that the chunk has so far.

    A chunk of 500 images has 500 classes at most, whatever the network's head has: memory does not grow with that.

    Args:
        conditions: number of conditions.
        channels: number of channels of every layer.
        device: device that keeps the sums.
    """

    def __init__(self, conditions: int, channels: Sequence[int], device: Device) -> None:
        self._labels: list[int] = []
        ends = np.cumsum([0, *channels]).tolist()
        self._places = [slice(*each) for each in itertools.pairwise(ends)]
        self._by_class = torch.zeros(conditions, 0, ends[-1], dtype=torch.float64, device=device)
        self._squares = torch.zeros(conditions, ends[-1], dtype=torch.float64, device=device)
        self._device = device
        self._copied: torch.cuda.Event | None = None

    def add(self, labels: NDArray[np.int64], means: Sequence[Sequence[Tensor]]) -> None:
        """Adds a batch.

        Args:
            labels: (image,) classes of its images.
            means: per condition and layer, (image, channel).
        """
        with torch.inference_mode():
            self._make_room(labels)
            places = {label: place for place, label in enumerate(self._labels)}
            mine = torch.tensor([places[label] for label in labels.tolist()])
            # A copy that waits would wait for the batch that is queued already.
            mine = mine.to(self._device, non_blocking=True)
            # A product with ones and zeros: unlike index_add_ it adds in the same order on every device.
            one_hot = (mine == torch.arange(len(places), device=self._device)[:, None]).double()
            every = slice(None)
            parts: Iterator[tuple[slice, slice, Sequence[Tensor]]]
            if self._device.is_cuda:  # Few operations: what a GPU is told costs more than what it computes.
                parts = ((slice(each, each + 1), every, [torch.cat([*layers], 1)]) for each, layers in enumerate(means))
            else:
                parts = (
                    (every, place, layer) for place, layer in zip(self._places, zip(*means, strict=True), strict=True)
                )
            sums = []
            for conditions, channels, found in parts:
                # A product for each condition: many at once may be added in another order.
                by_class = torch.stack([one_hot @ each for each in found])
                sums.append((conditions, channels, by_class, torch.stack([*found]).square_().sum(1)))
            # Nothing is added before all of it is there: a batch for which memory runs out comes again.
            for conditions, channels, by_class, squares in sums:
                self._by_class[conditions, :, channels] += by_class
                self._squares[conditions, channels] += squares

    def leave_device(self) -> None:
        """Begins to copy the sums to the host; nothing is added any more.

        What is queued on the device after this does not delay them. Large ones stay until they are asked for: pinned
        memory is dear.
        """
        if not self._device.is_cuda or self._by_class.nbytes > _MOST_PINNED:
            return
        self._by_class, self._squares = _on_its_way(self._by_class), _on_its_way(self._squares)
        self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._copied.record(torch.cuda.current_stream(self._device))

    def by_class(self, layer: int, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sums of one layer for classes that were seen, (condition, class, channel)."""
        self._wait()
        places = [self._labels.index(label) for label in labels.tolist()]
        sums: NDArray[np.float64] = self._by_class[:, :, self._places[layer]].cpu().numpy()[:, places]
        return sums

    def squares(self, layer: int) -> NDArray[np.float64]:
        """Sums of squares of one layer over all images, (condition, channel)."""
        self._wait()
        sums: NDArray[np.float64] = self._squares[:, self._places[layer]].cpu().numpy()
        return np.ascontiguousarray(sums)

    def _wait(self) -> None:
        if self._copied is not None:
            self._copied.synchronize()

    def _make_room(self, labels: NDArray[np.int64]) -> None:
        new = sorted({*labels.tolist()} - {*self._labels})
        if new:
            conditions, _, channels = self._by_class.shape
            self._by_class = torch.cat([self._by_class, self._by_class.new_zeros(conditions, len(new), channels)], 1)
            self._labels += new  # Last, as above.


@dataclass(slots=True)
class OpenChunk:
    """A chunk being made.

    Attributes:
        plan: plan of the run's steps.
        positions: positions of its images in the data set; unreadable images are removed.
        values: float32 (row, image), in the order of the plan's RowLayout; filled up to `done`.
        labels: int64 (image,), filled up to `done`.
        targets: likewise, of a targeted attack.
        channel_sums: by class.
        done: how many images are through.
    """

    plan: StepPlan
    positions: NDArray[np.int64]
    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    targets: NDArray[np.int64]
    channel_sums: ChannelSums
    done: int = 0

    @classmethod
    def begun(cls, plan: StepPlan, positions: NDArray[np.int64], device: Device) -> "OpenChunk":
        """One with no image done."""
        images = len(positions)
        return cls(
            plan,
            positions,
            np.zeros((plan.layout.rows, images), np.float32),
            np.zeros(images, np.int64),
            np.zeros(images, np.int64),
            ChannelSums(len(plan.conditions), [call.channels for call in plan.layers], device),
        )

    def leave_out(self, positions: list[int]) -> None:
        """Takes images that cannot be read out of the chunk; none of them is done."""
        if positions:
            self.positions = self.positions[~np.isin(self.positions, positions)]

    def take(self, images: int, numbers: HostCopy | LaterCopy) -> None:
        """Takes in the numbers of the next images.

        Raises:
            RunError: the network or a layer answered one of them with NaN or infinity.
        """
        rows = slice(self.done, self.done + images)
        values, labels, targets = numbers.wait()
        self.values[:, rows], self.labels[rows] = values, labels
        if targets is not None:
            self.targets[rows] = targets
        self._require_finite(rows)
        self.channel_sums.add(self.labels[rows], numbers.channel_means)
        self.done = rows.stop  # Last: whatever ran out of memory can be taken again.

    def leave_device(self) -> None:
        """Begins to copy what is left on the device, when all images are done; where memory is short, later."""
        try:
            self.channel_sums.leave_device()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise

    def arrays(self) -> Arrays:
        """What a chunk file holds, of the images done so far."""
        plan, done = self.plan, self.done
        arrays: Arrays = {"index": self.positions[:done], "label": self.labels[:done]}
        if plan.perturbations.target != "none":
            arrays["target"] = self.targets[:done]
        arrays |= plan.layout.arrays(self.values[:, :done])
        arrays["prediction"] = arrays["prediction"].astype(np.int64)
        if done == len(self.positions):
            present, counts = np.unique(self.labels[:done], return_counts=True)
            arrays |= {"class_labels": present, "class_counts": counts}
            for place, call in enumerate(plan.layers):
                arrays[f"class_sum/{call.name}"] = self.channel_sums.by_class(place, present)
                arrays[f"square_sum/{call.name}"] = self.channel_sums.squares(place)
        return arrays

    def _require_finite(self, rows: slice) -> None:
        conditions, layers = self.plan.conditions, self.plan.layers
        for condition, layer, image in np.argwhere(~self.plan.layout.is_finite(self.values[:, rows]))[:1]:
            raise RunError(
                f"layer {layers[layer].name}: image {self.positions[rows][image]} under {conditions[condition].name} "
                "makes it respond with NaN, infinity, or more than float32 can sum; check the weights, or use "
                "--precision exact"
            )
        confidence = self.plan.layout.arrays(self.values[:, rows])["confidence"]
        for condition, image in np.argwhere(np.isnan(confidence))[:1]:
            raise RunError(
                f"model: image {self.positions[rows][image]} under {conditions[condition].name} makes it give NaN "
                "logits; check the weights, or use --precision exact"
            )
