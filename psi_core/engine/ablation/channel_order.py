"""The order of a layer's channels, for every class or for all: from what they respond to training images, or by lot."""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from psi_core.engine.attacks.noise import Noise
from psi_core.engine.measure.reducer import Reducer
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.layers import LayerCall
from psi_core.engine.models.taps import Taps
from psi_core.statistics.classes import lifetime_sparseness


@dataclass(frozen=True, slots=True)
class ClassResponses:
    """Sums of the channels' responses, their spatial means, to the images of each class.

    Attributes:
        images: number of images of each class, float64 (class,).
        total: sum of the responses, float64 (class, channel).
        squares: sum of their squares, likewise.
    """

    images: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    def mean_response(self) -> NDArray[np.float64]:
        """Mean response of each channel to each class, (class, channel); NaN for a class without images."""
        means = np.full_like(self.total, np.nan)
        np.divide(self.total, self.images[:, None], out=means, where=self.images[:, None] > 0)
        return means

    def sparseness(self) -> NDArray[np.float64]:
        """Lifetime sparseness of each channel over the images of each class, (class, channel).

        NaN where the channel responds to none of them, or the class has fewer than two.
        """
        return lifetime_sparseness(self.total, self.squares, self.images[:, None])


SCORES: dict[str, Callable[[ClassResponses], NDArray[np.float64]]] = {
    "response": ClassResponses.mean_response,
    "sparseness": ClassResponses.sparseness,
}
"""What the channels are ordered by, the highest first, for each ranking that depends on responses."""

LEAST_IMAGES = {"response": 1, "sparseness": 2}
"""Images of a class that each of these rankings needs."""


def class_responses(
    model: Classifier, call: LayerCall, reducer: Reducer, classes: int, batches: Iterable[tuple[object, Tensor, Tensor]]
) -> ClassResponses:
    """What the channels of one layer respond to each class.

    Args:
        model: in eval mode.
        call: call of the layer.
        reducer: gives the channels' mean responses.
        classes: how many there are.
        batches: positions of images, the images as the network takes them, and their labels.
    """
    images = torch.zeros(classes, dtype=torch.float64)
    sums = torch.zeros(2, classes, call.channels, dtype=torch.float64)
    means: list[Tensor] = []

    def receive(path: str, _kind: str, output: Tensor) -> None:
        if path == call.path:
            means.append(reducer(output, call.channel_axis)[1])

    for _, inputs, labels in batches:
        means.clear()
        with model.without_gradient(), Taps(model.network, receive, with_modules=not call.is_activation):
            model(inputs)
            # A product with ones and zeros: unlike index_add_ it adds in the same order on every device.
            one_hot = (labels == torch.arange(classes, device=labels.device)[:, None]).double()
            (found,) = means
            sums += torch.stack([one_hot @ found, one_hot @ found.square()]).cpu()
            images += one_hot.sum(1).cpu()
    return ClassResponses(images.numpy(), *sums.numpy())


def ranks_by_score(scores: NDArray[np.float64], *, shared: bool) -> NDArray[np.int64]:
    """Place of each channel in the order of each class, 0 for the first, (class, channel).

    Args:
        scores: (class, channel), the highest first; equal ones by their number, NaN last.
        shared: whether all classes have one order, by the mean over the classes that have a score.
    """
    if shared:
        has_score = ~np.isnan(scores)
        means = np.full(scores.shape[1], np.nan)
        count = has_score.sum(0)
        np.divide(np.where(has_score, scores, 0).sum(0), count, out=means, where=count > 0)
        scores = np.broadcast_to(means, scores.shape)
    return _places(np.argsort(np.where(np.isnan(scores), np.inf, -scores), axis=1, kind="stable"))


def random_ranks(seed: int, layer: str, classes: int, channels: int, *, shared: bool) -> NDArray[np.int64]:
    """Ranks as `ranks_by_score` gives them, of an order drawn by lot for each class, or of one for all.

    Args:
        seed: seed of the run.
        layer: its name; each has its own orders.
        classes: how many there are.
        channels: number of channels of the layer.
        shared: whether all classes have one order.
    """
    stream = zlib.crc32(f"ablate {layer}{' shared' if shared else ''}".encode())
    orders = Noise(seed, torch.arange(1 if shared else classes), stream).permutations(channels)
    return np.broadcast_to(_places(orders.numpy()), (classes, channels))


def _places(orders: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each channel in each order."""
    return np.argsort(orders, axis=1, kind="stable")
