"""Preparation: an ablation's network, its images and those that order the channels, all checked before any work."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi_core.ablation import DEFAULT_TRAIN_IMAGES, AblationConfig
from psi_core.engine.ablation.channel_order import LEAST_IMAGES
from psi_core.engine.images import Dataset, load_dataset
from psi_core.engine.images.classes import match_classes
from psi_core.engine.models.layers import LayerCall, exact_name
from psi_core.engine.preparation import Prepared, prepare
from psi_core.errors import ConfigError, DataError


@dataclass(frozen=True, slots=True)
class Ablation:
    """An ablation that can be started.

    Attributes:
        config: what was asked.
        prepared: the model, and the images to be recognized; `fitted` weights come later.
        training: images that the orders are made on, their labels classes of the network; None where all orders are
            drawn by lot.
        train_images: how many of these, the first ones.
    """

    config: AblationConfig
    prepared: Prepared
    training: Dataset | None
    train_images: int

    @property
    def call(self) -> LayerCall:
        """The layer whose channels are masked."""
        return self.prepared.calls[0]

    @property
    def channels(self) -> int:
        """Channels of that layer."""
        return self.call.channels

    @property
    def classes(self) -> int:
        """Classes of the network."""
        return self.prepared.trace.classes


def prepare_ablation(config: AblationConfig) -> Ablation:
    """Checks everything that can be checked without work.

    Raises:
        ConfigError, ModelError, DataError: something cannot stand.
    """
    least = max(LEAST_IMAGES.get(by, 0) for by in config.by)
    training = _training_part(config) if least else None
    prepared = prepare(config.run)
    if len(prepared.calls) > 1:
        names = [exact_name(call) for call in prepared.calls]
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise ConfigError(f"layer: {config.layer} stands for {len(names)} layers ({shown}); write one of them")
    if training is None:
        return Ablation(config, prepared, None, 0)
    images = _train_images(config, training)
    head_names = prepared.source.class_names
    if config.weights != "fitted" or config.data == "mnist":  # A fitted head has the training part's own classes.
        training = match_classes(
            training, prepared.trace.classes, prepared.config.model, config.class_order, head_names
        )
    _require_images_of_every_class(config, prepared, training.labels[:images], least)
    return Ablation(config, prepared, training, images)


def _training_part(config: AblationConfig) -> Dataset:
    class_order = "auto" if config.weights == "fitted" else config.class_order  # Fits number classes by text.
    try:
        return load_dataset(config.data, "train", config.resize, class_order)
    except DataError as error:
        reason = str(error).removeprefix("data: ").partition(";")[0]
        raise DataError(
            f"data: channels are ordered by their responses to training images, but {reason}; "
            "name data with a training part, or write --by random"
        ) from None


def _train_images(config: AblationConfig, training: Dataset) -> int:
    wanted, there = config.train_images, len(training)
    if wanted is not None and wanted > there:
        raise DataError(
            f"train_images: {training.name} has {there} training images, not {wanted}; write at most {there}"
        )
    return min(DEFAULT_TRAIN_IMAGES, there) if wanted is None else wanted


def _require_images_of_every_class(
    config: AblationConfig, prepared: Prepared, training_labels: NDArray[np.int64], least: int
) -> None:
    """Makes sure that the channels can be ordered for every class that will be shown, or in one order for all."""
    found, images = np.bincount(training_labels, minlength=prepared.trace.classes), len(training_labels)
    if config.shared and found.max() < least:
        raise DataError(
            f"train_images: no class has {least} among the first {images} training images, too few to order channels; "
            f"write more than {images}"
        )
    for label in () if config.shared else np.unique(prepared.dataset.labels[: prepared.config.images]):
        if found[label] < least:
            raise DataError(
                f"train_images: {found[label]} of the first {images} training images are of class {label}, too few to "
                f"order channels for it; write more than {images}, or --shared"
            )
