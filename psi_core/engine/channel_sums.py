"""Sums of channel responses over the images of a chunk: by class, and of squares over all of them."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class ChannelSums:
    """Sums of every layer's channel means, float64 on the device, for the classes that the chunk has so far.

    A chunk of 500 images has 500 classes at most, whatever the network's head has: memory does not grow with that.

    Args:
        conditions: how many.
        channels: of every layer.
        device: where the sums are kept.
    """

    def __init__(self, conditions: int, channels: Sequence[int], device: str) -> None:
        self._labels: list[int] = []
        self._by_class = [torch.zeros(conditions, 0, each, dtype=torch.float64, device=device) for each in channels]
        self._squares = [torch.zeros(conditions, each, dtype=torch.float64, device=device) for each in channels]
        self._device = device

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
            for condition, layers in enumerate(means):
                for place, each in enumerate(layers):
                    self._by_class[place][condition] += one_hot @ each
                    self._squares[place][condition] += each.square().sum(0)

    def by_class(self, layer: int, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sums of one layer for classes that were seen, (condition, class, channel)."""
        places = [self._labels.index(label) for label in labels.tolist()]
        sums: NDArray[np.float64] = self._by_class[layer].cpu().numpy()[:, places]
        return sums

    def squares(self, layer: int) -> NDArray[np.float64]:
        """Sums of squares of one layer over all images, (condition, channel)."""
        sums: NDArray[np.float64] = self._squares[layer].cpu().numpy()
        return sums

    def _make_room(self, labels: NDArray[np.int64]) -> None:
        new = sorted({*labels.tolist()} - {*self._labels})
        if new:
            self._labels += new
            self._by_class = [
                torch.cat([each, each.new_zeros(each.shape[0], len(new), each.shape[2])], 1) for each in self._by_class
            ]
