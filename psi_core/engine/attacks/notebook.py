"""Attacks on any module, from a notebook: the functions of `attacks` behind checks, leaving no trace on the model."""

import torch
from torch import Tensor, nn

from psi_core.conditions import ATTACK_NAMES, Condition
from psi_core.config import RunConfig
from psi_core.engine.attacks.attacks import Iteration
from psi_core.engine.attacks.gradients import with_graph
from psi_core.engine.attacks.perturbations import Perturbations
from psi_core.engine.models.classifier import LastSigmoid, of_two_classes, read_output
from psi_core.engine.models.taps import untouched
from psi_core.engine.python_values import require_module, require_tensor
from psi_core.errors import ConfigError, DataError, ModelError, unknown_name

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types of numbers that a network computes with."""


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float | str = 0.03) -> Tensor:
    """Images moved one step of `epsilon` up the loss, in pixel units (Goodfellow et al. 2015, arXiv:1412.6572).

    The loss is the margin of `labels`, the lead of all other classes: the direction of the cross-entropy, without its
    rounding where the network is sure. It is summed, so that an image's step never depends on its batch. The model runs
    in eval mode and comes back as it was: modes, `.grad`, `requires_grad`, buffers, hooks, random state. Works
    inside `torch.no_grad()` and `torch.inference_mode()`.

    Args:
        model: network from images in 0..1 to logits (batch, classes), or one, or its sigmoid, for two classes; its
            normalization is inside it.
        images: (batch, channel, height, width), floating point, 0..1.
        labels: (batch,) integers.
        epsilon: largest change of a pixel, 0..1; as text it may be a fraction, "8/255".

    Returns:
        Images of the same shape and type in 0..1 that require no gradient.

    Raises:
        ValueError: no module; images or labels that are no tensors; images outside 0..1 or not floating point, labels
            that do not fit, epsilon outside 0..1, or a model that gives no logits or NaN, or whose gradient does not
            reach its input.
    """
    return attack(model, images, labels, "fgsm", epsilon)


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    name: str = "pgd",
    epsilon: float | str = 0.03,
    *,
    steps: int = 10,
    step_size: float | None = None,
    restarts: int = 1,
    is_targeted: bool = False,
    seed: int = 0,
) -> Tensor:
    """Images under any attack of a run, as `fgsm` gives them: on any classifier, which comes back as it was.

    Args:
        model: network from images in 0..1 to logits (batch, classes), or one, or its sigmoid, for two classes; its
            normalization is inside it.
        images: (batch, channel, height, width), floating point, 0..1.
        labels: (batch,) integers: to be missed, or to be reached if `is_targeted`.
        name: one of `psi_core.conditions.ATTACK_NAMES`.
        epsilon: as for `fgsm`; for `fgm-l2` the L2 is epsilon x sqrt(pixels x channels).
        steps: number of steps of bim, pgd and mi-fgsm.
        step_size: size of a step, as a share of epsilon; None for 2.5 / steps, for mi-fgsm 1 / steps.
        restarts: random starts of pgd.
        is_targeted: whether the loss of the labels is to fall.
        seed: seed of random starts, which also depend on an image's place in the batch.

    Returns:
        Images of the same shape and type in 0..1 that require no gradient.

    Raises:
        ValueError: as for `fgsm`, or there is no such attack.
    """
    if name not in ATTACK_NAMES:
        raise ConfigError(unknown_name("attack", name, ATTACK_NAMES))
    # A run's own bounds, and its sentences.
    asked_size = "auto" if step_size is None else step_size
    config = RunConfig(epsilon=(epsilon,), steps=steps, restarts=restarts, step_size=asked_size, seed=seed)
    require_module(model)
    _require_images(images, labels)
    condition = Condition(name, config.epsilon[0])
    taken_size = None if config.step_size == "auto" else config.step_size
    iteration = Iteration(config.steps, taken_size, config.restarts, is_targeted)
    perturbations = Perturbations((Condition("benign"), condition), iteration, seed=config.seed)
    with torch.inference_mode(False):
        originals = images.detach().clone()
        targets = labels.detach().to(images.device, torch.int64, copy=True)
        with untouched(model, images.device), torch.enable_grad():
            inputs = originals.detach().requires_grad_()
            attacked = _OfACopy(model)
            logits = with_graph(attacked, inputs)
            _require_labels_for(targets, logits)
            perturbed = perturbations.begin_batch(
                attacked, inputs, logits, targets, torch.arange(len(inputs), device=inputs.device)
            )
            if perturbed.gradient.isnan().any():
                raise ModelError("model: the gradient of its loss holds NaN; check its weights")
            return perturbed.images_under(condition).detach().clone()


class _OfACopy(nn.Module):
    """A model that gets a copy of its input, which it may change in place, and whose output is read as a run does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Its logits; one for each image, or the sigmoid of one, is taken as 0 and z of two classes."""
        with LastSigmoid() as sigmoid:
            given = self.model(images.clone())
        logits, output = read_output(given, len(images), sigmoid.given)
        return of_two_classes(sigmoid.argument) if output == "sigmoid" else logits


def _require_images(images: Tensor, labels: Tensor) -> None:
    require_tensor("images", images, "floats (batch, channel, height, width)", "float32")
    require_tensor("labels", labels, "integers (batch,)")
    if images.dtype not in _FLOATS:
        raise DataError(f"images: {images.dtype} is no type that networks take; give float32, scaled to 0..1")
    if images.dim() < 2:
        raise DataError(f"images: {tuple(images.shape)} is not (batch, channel, height, width)")
    # Written so that NaN fails it too.
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise DataError(
            "images: some pixel is NaN or lies outside 0 to 1; divide by 255 and put the normalization inside the model"
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise DataError(
            f"labels: {tuple(labels.shape)} {labels.dtype}; give one integer for each of {len(images)} images"
        )


def _require_labels_for(labels: Tensor, logits: Tensor) -> None:
    # cross_entropy leaves out label -100 without a word, and answers others on a GPU with a failure that ends all work.
    if len(labels) and not (labels.min() >= 0 and labels.max() < logits.shape[1]):
        found = f"{int(labels.min())} to {int(labels.max())}"
        raise DataError(f"labels: {found} for a model of {logits.shape[1]} classes; count them from 0")
