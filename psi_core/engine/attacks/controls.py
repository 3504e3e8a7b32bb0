"""Controls: changes of an attack's size without its aim. A shift that they make too is none of the attack's.

To add one: a function here, its line in CONTROLS, its name in `psi_core.conditions`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from psi_core.engine.attacks.attacks import OneStep, stepped
from psi_core.engine.attacks.gradients import change_norms
from psi_core.engine.attacks.noise import Noise

_MOST_ROUNDS = 100
"""Rounds in which a Gaussian's scale is sought; on digits 5 do at epsilon 0.03. The L2 grows more slowly than the
scale, since pixels reach black and white, so that scale x wanted / realized comes nearer each round, never too far."""

_NEAR = 1e-6
"""Share of the L2 by which it may be missed."""


def sign_noise_step(images: Tensor, gradient: Tensor, epsilon: float, noise: Noise) -> Tensor:
    """One step of `epsilon` in a random direction of the same L-infinity norm."""
    return stepped(images, noise.signs(images), epsilon)


def anti_fgsm_step(images: Tensor, gradient: Tensor, epsilon: float, noise: Noise) -> Tensor:
    """One step of `epsilon` down the loss: the image statistics of FGSM without its harm."""
    return stepped(images, gradient.sign(), -epsilon)


def shuffled_fgsm_step(images: Tensor, gradient: Tensor, epsilon: float, noise: Noise) -> Tensor:
    """The FGSM step with its pixels in a random order of each image's own; the channels of a pixel stay together."""
    signs = gradient.sign().flatten(2)
    order = noise.permutations(signs.shape[2])[:, None, :].expand_as(signs)
    return stepped(images, signs.gather(2, order).view(images.shape), epsilon)


def gaussian_noise(images: Tensor, l2: Tensor, noise: Noise) -> Tensor:
    """Independent Gaussian noise of every pixel, scaled so that each image is changed by the L2 asked for.

    The size counts after clipping to 0..1, which halves noise on black. Where even black and white would not reach the
    L2, it stays below.

    Args:
        images: (batch, channel, height, width) in 0..1.
        l2: (batch,), realized by the attack that this is the control of.
        noise: of the condition.
    """
    normal = noise.normal(images)
    scale = l2 / images.shape[1:].numel() ** 0.5
    for _ in range(_MOST_ROUNDS):
        realized = change_norms(_noisy(images, normal, scale), images)[1]
        is_off = (realized - l2).abs() > _NEAR * l2  # One that fits stays: it must not depend on its batch.
        if not bool(is_off.any()):
            break
        scale = torch.where(is_off & (realized > 0), scale * l2 / realized, scale)
    return _noisy(images, normal, scale)


CONTROLS: Mapping[str, OneStep] = {
    "sign-noise": sign_noise_step,
    "anti-fgsm": anti_fgsm_step,
    "shuffled-fgsm": shuffled_fgsm_step,
    "sign-noise-2": sign_noise_step,
}
"""All controls but `gaussian_noise`, which needs to know what its attack realized."""


def _noisy(images: Tensor, normal: Tensor, scale: Tensor) -> Tensor:
    return (images + normal * scale.view(-1, *[1] * (images.dim() - 1))).clamp_(0, 1)
