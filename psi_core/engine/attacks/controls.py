"""Controls: changes of an attack's size without its aim. A shift that they make too is none of the attack's.

To add one: a function here, and the row of its name in `psi_core.conditions.ATTACKS`.
"""

import torch
from torch import Tensor

from psi_core.engine.attacks.attacks import Batch, overwrite_with_step, step_along_signs
from psi_core.engine.attacks.gradients import l2_norms
from psi_core.engine.kernels import kernels_for
from psi_core.engine.sums import cached_rows

_MOST_ROUNDS = 100
"""Rounds in which a Gaussian's scale is sought; on digits 5 do at epsilon 0.03. The L2 grows more slowly than the
scale, since pixels reach black and white, so that scale x wanted / realized comes nearer each round, never too far."""

_NEAR = 1e-6
"""Share of the L2 by which it may be missed."""


def sign_noise(batch: Batch, epsilon: float) -> Tensor:
    """One step of `epsilon` in a random direction of the same L-infinity norm."""
    kernels = kernels_for(batch.images, "steps")
    if kernels is not None and kernels.fits(batch.images):
        stepped: Tensor = kernels.sign_step(batch.images, None, epsilon, batch.noise.keys())
        return stepped
    return overwrite_with_step(batch.noise.signs(batch.images), batch.images, epsilon)


def sign_noise_2(batch: Batch, epsilon: float) -> Tensor:
    """A second draw of `sign_noise`: the numbers of a condition follow from its name."""
    return sign_noise(batch, epsilon)


def anti_fgsm(batch: Batch, epsilon: float) -> Tensor:
    """One step of `epsilon` down the loss: the image statistics of FGSM without its harm."""
    return step_along_signs(batch.images, batch.gradient, -epsilon)


def shuffled_fgsm(batch: Batch, epsilon: float) -> Tensor:
    """The FGSM step with its pixels in a random order of each image's own; the channels of a pixel stay together."""
    signs = batch.gradient.sign().flatten(2)
    order = batch.noise.permutations(signs.shape[2])[:, None, :].expand_as(signs)
    return overwrite_with_step(signs.gather(2, order).view(batch.images.shape), batch.images, epsilon)


def donor(batch: Batch, epsilon: float) -> Tensor:
    """The FGSM step of the image beside it, so that structure and size are an attack's and the aim is another image.

    Images pair in the order of the batch, first with second and so on; the last of an odd number takes the step of the
    one before it, and an image alone its own, mirrored. Batches are even, so that no smaller one parts a pair.
    """
    images = len(batch.images)
    beside = torch.arange(images, device=batch.images.device) ^ 1
    beside = torch.where(beside < images, beside, max(images - 2, 0))
    signs = batch.gradient.sign()
    indices = batch.noise.indices
    is_alone = (indices[beside] == indices).view(-1, *[1] * (signs.dim() - 1))
    return overwrite_with_step(torch.where(is_alone, signs.flip(-1), signs[beside]), batch.images, epsilon)


def gaussian(batch: Batch, epsilon: float) -> Tensor:
    """Independent Gaussian noise of every pixel, scaled so that each image is changed by the L2 of the first attack.

    The size counts after clipping to 0..1, which halves noise on black. Where even black and white would not reach the
    L2, it stays below.
    """
    assert batch.l2 is not None, "its row says that it takes a size"
    images, l2 = batch.images, batch.l2
    kernels = kernels_for(images, "steps")
    if kernels is not None:
        # Laid out as the kernel reads them whatever the network wants: the code below waits for the device.
        laid_out = images.contiguous(memory_format=torch.channels_last)
        if kernels.fits(laid_out):
            shaped: Tensor = kernels.gaussian(laid_out, batch.noise.keys(), l2, _NEAR, _MOST_ROUNDS)
            return shaped
    noisy = torch.empty_like(images)
    for rows in cached_rows(images):
        normal = batch.noise.of(rows).normal(images[rows])
        _overwrite_with_sized_noise(noisy[rows], images[rows], normal, l2[rows])
    return noisy


def _overwrite_with_sized_noise(noisy: Tensor, images: Tensor, normal: Tensor, l2: Tensor) -> None:
    """Writes the images plus noise, scaled to change each by its L2, into `noisy`."""
    scale = l2 / images.shape[1:].numel() ** 0.5
    for _ in range(_MOST_ROUNDS):
        realized = l2_norms(_overwrite_with_noise(noisy, images, normal, scale), images)
        is_off = (realized - l2).abs() > _NEAR * l2  # One that fits stays: it must not depend on its batch.
        if not bool(is_off.any()):
            return
        scale = torch.where(is_off & (realized > 0), scale * l2 / realized, scale)
    _overwrite_with_noise(noisy, images, normal, scale)


def _overwrite_with_noise(noisy: Tensor, images: Tensor, normal: Tensor, scale: Tensor) -> Tensor:
    """Writes the images plus noise of a scale, kept in 0..1, into `noisy`, and returns it."""
    torch.mul(normal, scale.view(-1, *[1] * (images.dim() - 1)), out=noisy)
    return noisy.add_(images).clamp_(0, 1)
