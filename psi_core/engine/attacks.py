"""Attacks and controls: pure functions from images to changed images, pixels in 0..1.

To add one: a function here, its line in ATTACKS or CONTROLS, its name in `psi_core.conditions`.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psi_core.engine.modes import borrowed
from psi_core.engine.noise import Noise
from psi_core.errors import ConfigError, DataError, ModelError

OneStep = Callable[[Tensor, Tensor, float, Noise], Tensor]
"""Images, the gradient of the summed loss at them, epsilon and noise -> changed images; all (batch, channel, y, x)."""


def fgsm_step(images: Tensor, gradient: Tensor, epsilon: float, noise: Noise) -> Tensor:
    """One step of `epsilon` up the loss (Goodfellow et al. 2015, arXiv:1412.6572)."""
    return _stepped(images, gradient.sign(), epsilon)


def anti_fgsm_step(images: Tensor, gradient: Tensor, epsilon: float, noise: Noise) -> Tensor:
    """One step of `epsilon` down the loss: the image statistics of FGSM without its harm."""
    return _stepped(images, gradient.sign(), -epsilon)


def sign_noise_step(images: Tensor, gradient: Tensor, epsilon: float, noise: Noise) -> Tensor:
    """One step of `epsilon` in a random direction of the same L-infinity norm."""
    return _stepped(images, noise.signs(images), epsilon)


def _stepped(images: Tensor, signs: Tensor, step: float) -> Tensor:
    """Images plus `step` times `signs`, kept in 0..1; made in the memory of `signs`, since fresh memory costs more."""
    return signs.mul_(step).add_(images).clamp_(0, 1)


ATTACKS: Mapping[str, OneStep] = {"fgsm": fgsm_step}

CONTROLS: Mapping[str, OneStep] = {"sign-noise": sign_noise_step, "anti-fgsm": anti_fgsm_step}

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float = 0.03) -> Tensor:
    """Images moved one step of `epsilon` up the loss, in pixel units (Goodfellow et al. 2015, arXiv:1412.6572).

    The loss is the cross-entropy with `labels`, summed, so that an image's step never depends on its batch. The model
    runs in eval mode and comes back as it was: modes, `.grad`, `requires_grad`, buffers, hooks, random state. Works
    inside `torch.no_grad()` and `torch.inference_mode()`.

    Args:
        model: takes images in 0..1, gives logits (batch, classes); its normalization is inside it.
        images: (batch, channel, height, width), floating point, 0..1.
        labels: (batch,) integers.
        epsilon: largest change of a pixel, 0..1.

    Returns:
        Images of the same shape and type in 0..1 that require no gradient.

    Raises:
        ValueError: images outside 0..1 or not floating point, labels that do not fit, epsilon outside 0..1, or a model
            that gives no logits or NaN, or whose gradient does not reach its input.
    """
    if not (math.isfinite(epsilon) and 0 <= epsilon <= 1):
        raise ConfigError(
            f"epsilon: {epsilon} lies outside 0 to 1; pixels are scaled to 0..1, so write 8/255 as 0.0314"
        )
    if not images.is_floating_point() or images.dim() < 2:
        raise DataError("images: not floating point (batch, channel, height, width); scale them to 0..1 first")
    # Written so that NaN fails it too.
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise DataError(
            "images: some pixel is NaN or lies outside 0 to 1; divide by 255 and put the normalization inside the model"
        )
    if labels.shape != images.shape[:1] or labels.dtype not in _INTEGERS:
        raise DataError(
            f"labels: {tuple(labels.shape)} {labels.dtype}; give one integer for each of {len(images)} images"
        )
    with torch.inference_mode(False):
        originals = images.detach().clone()
        targets = labels.detach().to(images.device, torch.int64, copy=True)
        with borrowed(model, images.device), torch.enable_grad():
            inputs = originals.detach().requires_grad_()
            logits = model(inputs)
            _require_logits_for(targets, logits)
            gradient = gradient_of(logits, inputs, targets)
        if gradient.isnan().any():
            raise ModelError("model: the gradient of its loss holds NaN; check its weights")
        return fgsm_step(originals, gradient, epsilon, Noise(0, targets, 0))


def input_gradient(model: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Logits and the gradient of the summed cross-entropy with respect to the images.

    Args:
        model: with frozen parameters, in eval mode.
        images: (batch, channel, height, width).
        labels: (batch,) int64, or None for the model's own choices.

    Raises:
        ModelError: the model's output has no gradient with respect to its input.
    """
    with torch.enable_grad():
        inputs = images.detach().requires_grad_()
        logits = model(inputs)
        return logits.detach(), gradient_of(logits, inputs, labels)


def gradient_of(logits: Tensor, inputs: Tensor, labels: Tensor | None) -> Tensor:
    """Gradient of the summed cross-entropy of `logits` with respect to the `inputs` that they came from."""
    targets = logits.detach().argmax(1) if labels is None else labels
    with torch.enable_grad():
        loss = F.cross_entropy(logits.float(), targets, reduction="sum")
        gradient = torch.autograd.grad(loss, inputs, allow_unused=True)[0] if loss.requires_grad else None
    if gradient is None:
        raise ModelError("model: no gradient reaches its input; take torch.no_grad() and detach() out of its forward")
    return gradient


def _require_logits_for(labels: Tensor, logits: object) -> None:
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        found = str(tuple(logits.shape)) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(f"model: its output is {found}, not logits (batch, classes); wrap it to return those")
    # cross_entropy leaves out label -100 without a word, and answers others on a GPU with a failure that ends all work.
    if len(labels) and not (labels.min() >= 0 and labels.max() < logits.shape[1]):
        found = f"{int(labels.min())} to {int(labels.max())}"
        raise DataError(f"labels: {found} for a model of {logits.shape[1]} classes; count them from 0")
