"""Data sets: where images and labels come from, and how pixels become what a network takes.

`load_dataset` is the door. It gives an `ArrayDataset` (MNIST, npz) or a `PictureDataset` (folders,
torchvision). `load_external` gives images attacked elsewhere.
"""

from psi_core.engine.images.dataset import Dataset, Reading, Unreadable, copies_among
from psi_core.engine.images.external import ExternalImages, load_external
from psi_core.engine.images.inputs import network_inputs, read_inputs, unreadable_error
from psi_core.engine.images.sources import absolute_data, dataset_size, load_dataset

__all__ = [
    "Dataset",
    "ExternalImages",
    "Reading",
    "Unreadable",
    "absolute_data",
    "copies_among",
    "dataset_size",
    "load_dataset",
    "load_external",
    "network_inputs",
    "read_inputs",
    "unreadable_error",
]
