"""Attacks: pure functions from images to changed images, pixels in 0..1; every one gives back the images at epsilon 0.

To add one: a function here, its line in ONE_STEP_ATTACKS or ITERATED_ATTACKS, its name in `psi_core.conditions`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from psi_core.engine.attacks.gradients import input_gradient, losses
from psi_core.engine.attacks.noise import Noise
from psi_core.engine.sums import cached_parts

OneStep = Callable[[Tensor, Tensor, float, Noise], Tensor]
"""Images, the gradient to climb at them, epsilon and noise -> changed images; all (batch, channel, y, x)."""


@dataclass(frozen=True, slots=True)
class Iteration:
    """How attacks of more than one step go about it.

    Attributes:
        steps: of bim, pgd and mi-fgsm.
        step_size: of each, as a share of epsilon; None for 2.5 / steps (Madry et al. 2018), for mi-fgsm 1 / steps.
        restarts: of pgd, each from another random start; every image keeps its most harmful.
        is_targeted: whether the labels are classes to reach, so that their loss is to fall.
    """

    steps: int = 10
    step_size: float | None = None
    restarts: int = 1
    is_targeted: bool = False

    @property
    def direction(self) -> int:
        """1 where the loss of the labels is to rise, -1 where it is to fall."""
        return -1 if self.is_targeted else 1


Iterated = Callable[[nn.Module, Tensor, Tensor, Tensor, float, Noise, Iteration], Tensor]
"""Model, images, labels, the gradient to climb at the images, epsilon, noise, iteration -> changed images."""


def fgsm_step(images: Tensor, gradient: Tensor, epsilon: float, noise: Noise) -> Tensor:
    """One step of `epsilon` up the loss (Goodfellow et al. 2015, arXiv:1412.6572)."""
    return stepped(images, gradient.sign(), epsilon)


def fgm_l2_step(images: Tensor, gradient: Tensor, epsilon: float, noise: Noise) -> Tensor:
    """One step along the gradient itself, of the L2 that FGSM has: epsilon x sqrt(number of pixels and channels).

    Fast gradient method in L2 (Goodfellow et al. 2015; Miyato et al. 2017, arXiv:1605.07725). Pixels may move further
    than epsilon; where the gradient is 0 throughout, none moves.
    """
    flat = gradient.flatten(1)
    largest = flat.abs().amax(1, keepdim=True)
    flat = flat / torch.where(largest > 0, largest, 1)  # Squares of gradients such as 1e-25 would vanish.
    length = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    direction = flat / torch.where(length > 0, length, 1)
    return stepped(images, direction.view(gradient.shape), epsilon * flat.shape[1] ** 0.5)


def r_fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    first_gradient: Tensor,
    epsilon: float,
    noise: Noise,
    iteration: Iteration,
) -> Tensor:
    """Half of epsilon in a random direction, then half up the loss there (Tramer et al. 2018, arXiv:1705.07204)."""
    start = stepped(images, noise.signs(images), epsilon / 2)
    return stepped(start, _climb(model, start, labels, iteration).sign(), epsilon / 2)


def bim(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    first_gradient: Tensor,
    epsilon: float,
    noise: Noise,
    iteration: Iteration,
) -> Tensor:
    """Basic iterative method: small FGSM steps kept within epsilon (Kurakin et al. 2017, arXiv:1607.02533)."""
    step = epsilon * (iteration.step_size or 2.5 / iteration.steps)
    changed = _within(images, stepped(images, first_gradient.sign(), step), epsilon)
    return _walked(model, images, changed, labels, epsilon, step, iteration, iteration.steps - 1)


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    first_gradient: Tensor,
    epsilon: float,
    noise: Noise,
    iteration: Iteration,
) -> Tensor:
    """Projected gradient descent: as `bim`, from uniform random starts within epsilon (Madry et al. 2018,
    arXiv:1706.06083). Of several restarts each image keeps the one with the most harmful loss.
    """
    step = epsilon * (iteration.step_size or 2.5 / iteration.steps)
    best, best_harm = images, torch.full((len(images),), -torch.inf, device=images.device)
    for restart in range(iteration.restarts):
        start = stepped(images, noise.uniform(images, restart), epsilon)
        changed = _walked(model, images, start, labels, epsilon, step, iteration, iteration.steps)
        if iteration.restarts == 1:
            return changed
        with torch.no_grad():
            harm = iteration.direction * losses(model(changed), labels)
        is_better = harm > best_harm
        best = torch.where(is_better.view(-1, *[1] * (images.dim() - 1)), changed, best)
        best_harm = torch.where(is_better, harm, best_harm)
    return best


def mi_fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    first_gradient: Tensor,
    epsilon: float,
    noise: Noise,
    iteration: Iteration,
) -> Tensor:
    """Momentum iterative FGSM: signs of the sum of all gradients so far, each divided by its mean size, with a decay
    factor of 1 (Dong et al. 2018, arXiv:1710.06081).
    """
    step = epsilon * (iteration.step_size or 1 / iteration.steps)
    changed, momentum = images, torch.zeros_like(images)
    for number in range(iteration.steps):
        gradient = _climb(model, changed, labels, iteration) if number else first_gradient
        size = gradient.flatten(1).abs().mean(1).view(-1, *[1] * (images.dim() - 1))
        momentum = momentum + gradient / torch.where(size > 0, size, 1)
        changed = _within(images, stepped(changed, momentum.sign(), step), epsilon)
    return changed


ONE_STEP_ATTACKS: Mapping[str, OneStep] = {"fgsm": fgsm_step, "fgm-l2": fgm_l2_step}
"""Attacks that the gradient at the benign image serves, whatever the epsilon."""

ITERATED_ATTACKS: Mapping[str, Iterated] = {"r-fgsm": r_fgsm, "bim": bim, "pgd": pgd, "mi-fgsm": mi_fgsm}
"""Attacks that need gradients elsewhere too."""

ATTACKS: Mapping[str, OneStep | Iterated] = {**ONE_STEP_ATTACKS, **ITERATED_ATTACKS}
"""All attacks of our own."""


def stepped(images: Tensor, direction: Tensor, step: float) -> Tensor:
    """Images plus `step` times `direction`, kept in 0..1, in the memory of `direction`: fresh memory costs more."""
    for part, benign in zip(cached_parts(direction), cached_parts(images), strict=True):
        part.mul_(step).add_(benign).clamp_(0, 1)
    return direction


def _walked(
    model: nn.Module,
    images: Tensor,
    start: Tensor,
    labels: Tensor,
    epsilon: float,
    step: float,
    iteration: Iteration,
    steps: int,
) -> Tensor:
    """So many steps from `start`, never further than epsilon from the images."""
    changed = start
    for _ in range(steps):
        changed = _within(images, stepped(changed, _climb(model, changed, labels, iteration).sign(), step), epsilon)
    return changed


def _climb(model: nn.Module, images: Tensor, labels: Tensor, iteration: Iteration) -> Tensor:
    """The gradient to climb: of the loss of the labels, or of its negative where they are to be reached."""
    gradient = input_gradient(model, images, labels)[1]
    return gradient.neg_() if iteration.is_targeted else gradient


def _within(images: Tensor, changed: Tensor, epsilon: float) -> Tensor:
    """Changed images with every pixel brought to within epsilon of its own, still in 0..1."""
    return torch.min(torch.max(changed, images - epsilon), images + epsilon)
