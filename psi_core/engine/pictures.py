"""Pictures made again: what a run saw of one image, by the very functions and numbers that the run used.

On the CPU, whatever the run used: a viewer must not take memory from a worker's device.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from psi_core.conditions import Condition
from psi_core.engine.attacks import input_gradient
from psi_core.engine.checkpoints import find_checkpoint
from psi_core.engine.datasets import Dataset, load_dataset, network_inputs
from psi_core.engine.devices import precision
from psi_core.engine.models import Classifier, input_channels, model_source
from psi_core.engine.noise import Noise
from psi_core.engine.preparation import prepare
from psi_core.engine.step import STEPS
from psi_core.engine.weights import file_sha256
from psi_core.errors import ModelError, PsiError
from psi_core.pictures import PICTURE_SIZE, Picture, Pixels, area_average
from psi_core.runs import Run

_WITHOUT_GRADIENT = frozenset({"benign", "sign-noise"})
"""Conditions that can be made with any weights, or none."""


class PictureMaker:
    """Makes pictures; keeps the classifier and the data of the run that it was last asked about."""

    def __init__(self) -> None:
        self._classifier: tuple[Path, Classifier] | None = None
        self._dataset: tuple[tuple[str, str], Dataset] | None = None

    def make(self, run: Run, index: int, condition: Condition) -> Picture:
        """One image of a run, benign and under a condition.

        Without the run's own weights the benign image is there, and the attacked one where no gradient is needed; the
        picture's `reason` then says why. Nothing is fitted or downloaded.

        Args:
            run: whose seed, labels, weights and preprocessing are used.
            index: position of the image in the data set.
            condition: one of the run's.

        Raises:
            PsiError: not even the benign image can be made.
        """
        try:
            classifier = self._classifier_of(run)
        except PsiError as error:
            return self._without_classifier(run, index, condition, str(error))
        with precision(run.config.precision, "cpu"):
            return self._with_classifier(run, index, condition, classifier)

    def _with_classifier(self, run: Run, index: int, condition: Condition, classifier: Classifier) -> Picture:
        images, label = self._inputs(run, index, input_channels(classifier.network))
        is_predicted = run.config.labels == "predicted"
        logits, gradient = input_gradient(classifier, images, None if is_predicted else label)
        target = int(logits.argmax(1) if is_predicted else label)
        with torch.inference_mode():
            changed = _changed(run, index, condition, images, gradient)
            probabilities = F.softmax(classifier(changed).float(), 1)[0]
        return _picture(images, changed, (int(probabilities.argmax()), float(probabilities[target])))

    def _without_classifier(self, run: Run, index: int, condition: Condition, reason: str) -> Picture:
        source = model_source(run.config.model)
        # Large networks are built without memory for their weights; one of the user's own may need real tensors.
        with torch.device("cpu" if source.imagenet is None else "meta"):
            channels = input_channels(source.build(1))
        images, _ = self._inputs(run, index, channels)
        is_possible = condition.attack in _WITHOUT_GRADIENT
        changed = _changed(run, index, condition, images, torch.zeros_like(images)) if is_possible else None
        return _picture(images, changed, None, reason)

    def _inputs(self, run: Run, index: int, channels: int) -> tuple[Tensor, Tensor]:
        """The image as the network takes it, a batch of one, and its true label."""
        key = run.config.data, run.config.split
        if self._dataset is None or self._dataset[0] != key:
            self._dataset = key, load_dataset(*key)
        dataset = self._dataset[1]
        assert run.config.size is not None, "a run's configuration is resolved"
        pixels = torch.from_numpy(dataset.images[index : index + 1].copy())
        return network_inputs(pixels, run.config.size, channels), torch.tensor([int(dataset.labels[index])])

    def _classifier_of(self, run: Run) -> Classifier:
        if self._classifier is None or self._classifier[0] != run.directory:
            self._classifier = None  # Before the next one is there: two might not fit.
            self._classifier = run.directory, _load_classifier(run)
        return self._classifier[1]


def _load_classifier(run: Run) -> Classifier:
    """The run's classifier with the weights that it was measured with.

    Raises:
        PsiError: they are not here, or others lie in their place.
    """
    recorded = run.model
    if not recorded:
        raise ModelError(f"weights: {run.name} has none yet; wait until it measures images, or resume it")
    config = run.config.model_copy(update={"device": "cpu", "devices": 1})
    if config.weights not in ("fitted", "random", "built") and not Path(recorded["source"]).is_file():
        raise ModelError(f"weights: {recorded['source']} is not there any more; put it back")
    prepared = prepare(config)
    place, sha256 = config.weights, prepared.card.get("sha256")
    if config.weights == "fitted":
        checkpoint = find_checkpoint(prepared.recipe)
        if checkpoint is None:
            size = "" if config.size == prepared.source.size else f" --size {config.size}"
            raise ModelError(
                f"weights: those fitted for this run are not here; make such weights with "
                f"psi-tui fit --model {config.model}{size}"
            )
        prepared = prepared.with_checkpoint(checkpoint)
        place, sha256 = str(checkpoint.path), file_sha256(checkpoint.path)
    if sha256 != recorded.get("sha256"):
        raise ModelError(
            f"weights: {place} are others than the run was measured with; put those back, "
            f"or measure these with psi-tui run --model {config.model}"
        )
    return prepared.classifier


def _changed(run: Run, index: int, condition: Condition, images: Tensor, gradient: Tensor) -> Tensor:
    if condition.is_benign:
        return images
    noise = Noise(run.config.seed, torch.tensor([index]), condition.stream)
    return STEPS[condition.attack](images, gradient, condition.epsilon, noise)


def _picture(images: Tensor, changed: Tensor | None, said: tuple[int, float] | None, reason: str = "") -> Picture:
    """From batches of one; `said` is the network's prediction and its confidence in the label."""
    benign = _pixels(images[0])
    if changed is None:
        return Picture(benign, reason=reason)
    change = (changed - images)[0].detach().double()
    prediction, confidence = (None, None) if said is None else said
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
    """Small pixels, gray or in color, from (channel, y, x)."""
    shown = image if image.shape[0] == 3 else image.float().mean(0, keepdim=True)
    pixels = area_average(shown.detach().permute(1, 2, 0).numpy(), PICTURE_SIZE, PICTURE_SIZE)
    return (pixels if pixels.shape[-1] == 3 else pixels[..., 0]).astype("float16")
