"""A chunk being made: its arrays as far as they are filled, and what its file will hold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi_core.chunks import Arrays
from psi_core.engine.channel_sums import ChannelSums
from psi_core.engine.host_copy import HostCopy
from psi_core.engine.step import PER_IMAGE, StepPlan
from psi_core.errors import RunError


@dataclass(slots=True)
class OpenChunk:
    """A chunk being made.

    Attributes:
        plan: of the run.
        positions: of its images in the data set; those that cannot be read leave it.
        values: float32 (row, image), rows as in StepResult; filled up to `done`.
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
    def begun(cls, plan: StepPlan, positions: range, device: str) -> "OpenChunk":
        """One with no image done."""
        conditions, images = len(plan.conditions), len(positions)
        rows = conditions * (len(PER_IMAGE) + len(plan.layers) * (len(plan.measures) + 1))
        return cls(
            plan,
            np.arange(positions.start, positions.stop),
            np.zeros((rows, images), np.float32),
            np.zeros(images, np.int64),
            np.zeros(images, np.int64),
            ChannelSums(conditions, [call.shape[0] for call in plan.layers], device),
        )

    def leave_out(self, positions: list[int]) -> None:
        """Takes images that cannot be read out of the chunk; none of them is done."""
        if positions:
            self.positions = self.positions[~np.isin(self.positions, positions)]

    def take(self, images: int, numbers: HostCopy) -> None:
        """Takes in the numbers of the next images.

        Raises:
            RunError: a layer answered one of them with NaN or infinity.
        """
        rows = slice(self.done, self.done + images)
        values, labels, targets = numbers.wait()
        self.values[:, rows], self.labels[rows] = values, labels
        if targets is not None:
            self.targets[rows] = targets
        self.done = rows.stop
        self._require_finite(rows)
        self.channel_sums.add(self.labels[rows], numbers.channel_means)

    def arrays(self) -> Arrays:
        """What a chunk file holds, of the images done so far."""
        plan, done = self.plan, self.done
        conditions = len(plan.conditions)
        values = self.values[:, :done].reshape(conditions, len(self.values) // conditions, done)
        arrays: Arrays = {"index": self.positions[:done], "label": self.labels[:done]}
        if plan.treatments.target != "none":
            arrays["target"] = self.targets[:done]
        for place, name in enumerate(PER_IMAGE):
            arrays[name] = np.ascontiguousarray(values[:, place])
        arrays["prediction"] = arrays["prediction"].astype(np.int64)
        layers = len(plan.layers)
        for place, name in enumerate(plan.measures):
            start = len(PER_IMAGE) + place * layers
            arrays[name] = np.ascontiguousarray(values[:, start : start + layers])
        if done == len(self.positions):
            present, counts = np.unique(self.labels[:done], return_counts=True)
            arrays |= {"class_labels": present, "class_counts": counts}
            for place, call in enumerate(plan.layers):
                arrays[f"class_sum/{call.name}"] = self.channel_sums.by_class(place, present)
                arrays[f"square_sum/{call.name}"] = self.channel_sums.squares(place)
        return arrays

    def _require_finite(self, rows: slice) -> None:
        conditions, layers = self.plan.conditions, self.plan.layers
        values = self.values[:, rows].reshape(len(conditions), -1, rows.stop - rows.start)
        is_finite = values[:, -len(layers) :]
        for condition, layer, image in np.argwhere(is_finite == 0)[:1]:
            raise RunError(
                f"layer {layers[layer].name}: image {self.positions[rows][image]} under {conditions[condition].name} "
                "makes it respond with NaN or infinity; check the weights, or use --precision exact"
            )
