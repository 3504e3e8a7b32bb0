"""Which images of a data set a run takes: all, the first ones, or a sample stratified by class.

A sample is a function of labels, number and seed, like every random number of a run: the same on every machine, and
for every worker.
"""

import zlib

import numpy as np
import torch
from numpy.typing import NDArray

from psi_core.config import Order
from psi_core.engine.attacks.noise import Noise
from psi_core.engine.images import Dataset
from psi_core.errors import DataError
from psi_core.plain_text import counted

_STREAM = zlib.crc32(b"images")
"""Keeps the lots of images apart from the noise of every condition."""


def image_count(dataset: Dataset, images: int | None) -> int:
    """How many images are taken: so many, or all.

    Raises:
        DataError: there are fewer.
    """
    if images is not None and images > len(dataset):
        raise DataError(
            f"images: {dataset.name} has {counted(len(dataset), 'image')}, not {images}; write at most {len(dataset)}"
        )
    return len(dataset) if images is None else images


def positions_of(
    dataset: Dataset, images: int | None, order: Order, seed: int, *, by_class: bool = True
) -> NDArray[np.int64]:
    """Positions in the data set of a run's images, int64 (image,), ascending, so that files are read in order.

    Args:
        dataset: its labels number its classes; how they are numbered does not matter.
        images: how many; None for all.
        order: `sample`, or `first` for those with the lowest positions.
        seed: seed of the run.
        by_class: whether each class has its share of the sample; else all images have one lot.

    Raises:
        DataError: there are fewer.
    """
    there, count = len(dataset), image_count(dataset, images)
    if count == there or order == "first":
        return np.arange(count)
    return stratified_sample(dataset.labels if by_class else np.zeros(there, np.int64), count, seed)


def stratified_sample(labels: NDArray[np.int64], images: int, seed: int) -> NDArray[np.int64]:
    """Positions of a sample of which every class has its share, to within one image, int64 (image,), ascending.

    What is left after whole shares goes to the classes with the largest remainders (Hamilton's method), among equal
    ones by lot. Within a class every image has the same chance.

    Args:
        labels: (image,) classes of all images.
        images: how many are taken, fewer than there are.
        seed: 0..2**63-1; another seed gives another sample.
    """
    lots = Noise(seed, torch.arange(len(labels)), _STREAM).words(0, 1)[:, 0].numpy()
    by_class = np.lexsort((lots, labels))
    _, firsts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    shares, remainders = np.divmod(counts * images, len(labels))
    # The lot of the image that would come in: unlike the number of its class it has no order.
    nexts = lots[by_class[firsts + shares]]
    shares[np.lexsort((nexts, -remainders))[: images - shares.sum()]] += 1
    places = np.arange(len(labels)) - np.repeat(firsts, counts)
    return np.sort(by_class[places < np.repeat(shares, counts)])
