"""The picture of one image of a run, benign and under a condition, made again.

It is made on the CPU, whatever the run used, so that a viewer takes no memory from a worker's device.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from psi_core.conditions import Condition
from psi_core.devices import CPU
from psi_core.engine.again.run_images import external_images, remake_images, remake_without_model, reopen
from psi_core.engine.images import load_dataset, load_external, read_inputs
from psi_core.engine.models.sources import input_channels, model_source
from psi_core.engine.precision import precision
from psi_core.engine.preparation import Prepared
from psi_core.errors import PsiError
from psi_core.pictures import PICTURE_SIZE, Picture, Pixels, area_average
from psi_core.runs.run import Run
from psi_core.runs.trust import require_trusted

_ANOTHER_DRAW = (
    "attack: foolbox may change an image otherwise when it is alone; see what was measured with psi-tui export --images"
)
"""Why a foolbox attack has no picture: it may draw its random numbers by batch."""


class PictureMaker:
    """Makes pictures, and keeps classifier and data of the run that it was last asked about."""

    def __init__(self) -> None:
        self._prepared: tuple[Path, Prepared] | None = None

    def make(self, run: Run, index: int, condition: Condition) -> Picture:
        """One image of a run, benign and under a condition.

        Where the run's weights are missing, the attacked image is made only if it needs none, and the picture's
        `reason` says what is missing. Nothing is fitted or downloaded.

        Args:
            run: its seed, labels, weights and preprocessing are used.
            index: position of the image in the data set.
            condition: one of the run's.

        Raises:
            PsiError: not even the benign image can be made.
        """
        require_trusted(run)
        try:
            prepared = self._prepared_of(run)
        except PsiError as error:
            return _without_classifier(run, index, condition, str(error))
        if condition.is_foolbox:
            images = remake_images(run, prepared, np.array([index]), [])[0]
            return _picture(images, None, None, _ANOTHER_DRAW)
        with precision(run.config.precision, CPU):
            images, labels, (changed,) = remake_images(run, prepared, np.array([index]), [condition])
            with prepared.classifier.without_gradient():
                logits = prepared.classifier(changed)[0]
                probabilities = F.softmax(logits.float(), 0)
        return _picture(images, changed, (int(logits.argmax()), float(probabilities[int(labels)])))

    def _prepared_of(self, run: Run) -> Prepared:
        if self._prepared is None or self._prepared[0] != run.directory:
            self._prepared = None  # Freed before the next one is made: two might not fit in memory.
            self._prepared = run.directory, reopen(run, CPU)
        return self._prepared[1]


def _without_classifier(run: Run, index: int, condition: Condition, reason: str) -> Picture:
    config, position = run.config, np.array([index])
    source = model_source(config.model)
    # Large networks are built without memory for their weights; one of the user's own may need real tensors.
    with torch.device("cpu" if source.imagenet is None else "meta"):
        channels = input_channels(source.build(1))
    dataset = load_dataset(config.data, config.split, config.resize, config.class_order)
    images = read_inputs(dataset, position, config.size, channels, CPU)
    if condition.row.needs_network:
        return _picture(images, None, None, reason)
    if condition.is_external:
        pairs = load_external(config.attacked, dataset, run.positions, config.size, config.resize, (), may_lack=True)
        return _picture(images, external_images(position, pairs, images), None, reason)
    return _picture(images, remake_without_model(run, position, condition, images), None, reason)


def _picture(images: Tensor, changed: Tensor | None, answer: tuple[int, float] | None, reason: str = "") -> Picture:
    """The picture of batches of one image; `answer` is the network's prediction and its confidence in the label."""
    benign = _pixels(images[0])
    if changed is None:
        return Picture(benign, reason=reason)
    change = (changed - images)[0].detach().double()
    prediction, confidence = (None, None) if answer is None else answer
    return Picture(
        benign=benign,
        attacked=_pixels(changed[0]),
        difference=_pixels(change.mean(0, keepdim=True)),
        linf=float(change.abs().max()),
        l2=float(change.square().sum().sqrt()),
        prediction=prediction,
        confidence=confidence,
        reason=reason,
    )


def _pixels(image: Tensor) -> Pixels:
    """An image (channel, y, x) brought to the size of a picture, gray or in color."""
    shown = image if image.shape[0] == 3 else image.float().mean(0, keepdim=True)
    pixels = area_average(shown.detach().permute(1, 2, 0).numpy(), PICTURE_SIZE, PICTURE_SIZE)
    return (pixels if pixels.shape[-1] == 3 else pixels[..., 0]).astype("float16")
