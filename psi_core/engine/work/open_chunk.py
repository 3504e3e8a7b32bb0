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

from psi_core.devices import CPU, Device
from psi_core.engine.devices import MEMORY_ERRORS, is_out_of_memory
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
        self._shape, self._device = (conditions, ends[-1]), device
        # On the device from the first batch on: what a chunk takes there, it takes where memory may run out.
        self._sums: tuple[Tensor, Tensor] | None = None
        self._copied: torch.cuda.Event | None = None
        self._host: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def add(self, labels: NDArray[np.int64], means: Sequence[Sequence[Tensor]]) -> None:
        """Adds a batch.

        Args:
            labels: (image,) classes of its images.
            means: per condition and layer, (image, channel).
        """
        with torch.inference_mode():
            by_class, squares = self._with_room(labels)
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
                products = torch.stack([one_hot @ each for each in found])
                sums.append((conditions, channels, products, torch.stack([*found]).square_().sum(1)))
            # Nothing is added before all of it is there: a batch for which memory runs out comes again.
            for conditions, channels, products, squared in sums:
                by_class[conditions, :, channels] += products
                squares[conditions, channels] += squared

    def leave_device(self) -> None:
        """Begins to copy the sums to the host; nothing is added any more.

        What is queued on the device after this does not delay them. Large ones stay until they are asked for: pinned
        memory is dear.
        """
        if self._sums is None or not self._device.is_cuda or self._sums[0].nbytes > _MOST_PINNED:
            return
        self._sums = _on_its_way(self._sums[0]), _on_its_way(self._sums[1])
        self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._copied.record(torch.cuda.current_stream(self._device))

    def by_class(self, layer: int, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sums of one layer for classes that were seen, (condition, class, channel)."""
        places = [self._labels.index(label) for label in labels.tolist()]
        return np.ascontiguousarray(self._on_host()[0][:, :, self._places[layer]][:, places])

    def squares(self, layer: int) -> NDArray[np.float64]:
        """Sums of squares of one layer over all images, (condition, channel)."""
        return np.ascontiguousarray(self._on_host()[1][:, self._places[layer]])

    def _on_host(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """All sums, copied as a whole: that takes no memory of the device, and it is waited for once."""
        if self._host is None:
            if self._copied is not None:
                self._copied.synchronize()
            by_class, squares = self._sums or self._none()
            self._host = by_class.cpu().numpy(), squares.cpu().numpy()
        return self._host

    def _none(self, device: Device = CPU) -> tuple[Tensor, Tensor]:
        conditions, channels = self._shape
        by_class = torch.zeros(conditions, 0, channels, dtype=torch.float64, device=device)
        return by_class, torch.zeros(self._shape, dtype=torch.float64, device=device)

    def _with_room(self, labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The sums, with room for all these classes."""
        by_class, squares = self._sums or self._none(self._device)
        new = sorted({*labels.tolist()} - {*self._labels})
        if new:
            conditions, _, channels = by_class.shape
            by_class = torch.cat([by_class, by_class.new_zeros(conditions, len(new), channels)], 1)
        self._sums, self._host = (by_class, squares), None
        self._labels += new  # Last, as above.
        return by_class, squares


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
        except MEMORY_ERRORS as error:
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
