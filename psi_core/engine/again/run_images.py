"""The images of a run, made again by the functions, weights and random numbers that the run used."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from psi_core.conditions import Condition
from psi_core.devices import Device
from psi_core.engine.attacks.gradients import with_graph
from psi_core.engine.attacks.perturbations import PerturbedBatch, perturbations_of
from psi_core.engine.images import read_inputs
from psi_core.engine.images.inputs import Readable
from psi_core.engine.models.checkpoints import find_checkpoint
from psi_core.engine.models.sources import input_channels
from psi_core.engine.preparation import Prepared, prepare
from psi_core.errors import DataError, ModelError
from psi_core.files import file_sha256, is_file
from psi_core.runs.run import Run
from psi_core.runs.trust import require_trusted


def reopen(run: Run, device: Device) -> Prepared:
    """A run prepared as it was: its classifier on a device, with the weights that it was measured with, and its images.

    Nothing is fitted or downloaded.

    Raises:
        PsiError: weights or images are missing, or are others than the run's.
    """
    require_trusted(run)
    recorded = run.model
    if not recorded:
        raise ModelError(f"weights: {run.name} has none yet; wait until it measures images, or resume it")
    config = run.config.asked(device=device, devices=1)
    if config.weights not in ("fitted", "random", "built") and not is_file(Path(recorded["source"])):
        raise ModelError(f"weights: {recorded['source']} is not there any more; put it back")
    prepared = prepare(config, run.config.memory_format)
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
    for key, what in (("data_sha256", "data"), ("attacked_sha256", "attacked")):
        if recorded.get(key) not in (None, prepared.card.get(key)):
            raise DataError(f"{what}: the images are others than those the run measured; put the old ones back")
    prepared.classifier.move_to(device)
    return prepared


def remake_images(
    run: Run, prepared: Prepared, positions: NDArray[np.int64], conditions: Sequence[Condition]
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Images of a run under some of its conditions.

    Args:
        run: the run whose seed and preprocessing are used.
        prepared: the run as `reopen` gives it.
        positions: positions of the images in the data set.
        conditions: some of the run's.

    Returns:
        The benign images (batch, channel, size, size) in 0..1, the labels (batch,) that the run's attacks used, and the
        images of each condition.

    Raises:
        DataError: an image is missing now.
        RunError: a condition takes something of the image beside, which is known once their chunk is finished.
    """
    images, labels, made = _remade(run, prepared, positions, [each for each in conditions if not each.row.pairs_images])
    if len(made) < len(conditions):
        pairs = np.stack([positions, run.beside(positions)], 1).reshape(-1)
        paired = [each for each in conditions if each.row.pairs_images]
        alone, in_pairs = iter(made), iter(_remade(run, prepared, pairs, paired)[2])
        return images, labels, [next(in_pairs)[::2] if each.row.pairs_images else next(alone) for each in conditions]
    return images, labels, made


def _remade(
    run: Run, prepared: Prepared, positions: NDArray[np.int64], conditions: Sequence[Condition]
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Images under conditions as if these were a whole batch."""
    device, channels = Device(str(prepared.classifier.mean.device)), input_channels(prepared.classifier.network)
    images = read_inputs(prepared.dataset, positions, run.config.size, channels, device)
    labels = torch.from_numpy(prepared.dataset.labels[positions]).to(device)
    inputs = images.requires_grad_()
    logits = with_graph(prepared.classifier, inputs)
    if run.config.labels == "predicted":
        labels = logits.detach().argmax(1)
    indices = torch.from_numpy(positions).to(device)
    perturbed = perturbations_of(run.config).begin_batch(prepared.classifier, inputs, logits, labels, indices)
    images = perturbed.images
    with torch.inference_mode():
        made = [
            external_images(positions, prepared.external, images) if each.is_external else perturbed.images_under(each)
            for each in conditions
        ]
    return images, labels, made


def remake_without_model(run: Run, positions: NDArray[np.int64], condition: Condition, images: Tensor) -> Tensor:
    """Benign images under a condition that needs neither weights nor gradient, as the run made them."""
    indices, labels = torch.from_numpy(positions), torch.zeros(len(images), dtype=torch.int64)
    perturbed = PerturbedBatch(
        perturbations_of(run.config), None, images, torch.zeros_like(images), labels, None, indices
    )
    return perturbed.images_under(condition)


def external_images(positions: NDArray[np.int64], external: Readable | None, like: Tensor) -> Tensor:
    """Images attacked elsewhere, as the run read them; of size, channels and device like `like`."""
    assert external is not None, "a run with images attacked elsewhere names them"
    return read_inputs(external, positions, like.shape[-1], like.shape[1], Device(str(like.device)))
