"""Attacks: functions from a batch of benign images to changed images, pixels in 0..1.

To add one: a function here, and the row of its name in `psi_core.conditions.ATTACKS`.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from psi_core.config import Loss
from psi_core.engine.attacks.gradients import input_gradient, losses
from psi_core.engine.attacks.noise import Noise
from psi_core.engine.kernels import kernels_for
from psi_core.engine.sums import cached_parts


@dataclass(frozen=True, slots=True)
class Iteration:
    """How attacks of more than one step go about it.

    Attributes:
        steps: number of steps of bim, pgd and mi-fgsm.
        step_size: size of a step, as a share of epsilon; None for 2.5 / steps (Madry et al. 2018), for mi-fgsm 1 /
            steps.
        restarts: random starts of pgd; every image keeps its most harmful.
        is_targeted: whether the labels are classes to reach, so that their loss is to fall.
        loss: loss that attacks raise.
    """

    steps: int = 10
    step_size: float | None = None
    restarts: int = 1
    is_targeted: bool = False
    loss: Loss = "margin"

    @property
    def direction(self) -> int:
        """1 where the loss of the labels is to rise, -1 where it is to fall."""
        return -1 if self.is_targeted else 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Benign images, and all that an attack or control of them may depend on.

    An attack of this package writes into none of them: on a GPU all conditions share them. What another attack writes
    into them changes nothing elsewhere.

    Attributes:
        images: (batch, channel, y, x) in 0..1.
        gradient: at the images, of their shape; its direction is the one to go.
        noise: random numbers of the condition.
        labels: int64 (batch,), to be missed, or to be reached where the iteration is targeted.
        model: network with frozen parameters, in eval mode; None for conditions that need none.
        iteration: settings of attacks of more than one step.
        l2: size of the first attack's change at this epsilon, float32 (batch,); None for all but controls that copy it.
    """

    images: Tensor
    gradient: Tensor
    noise: Noise
    labels: Tensor
    model: nn.Module | None = None
    iteration: Iteration = field(default_factory=Iteration)
    l2: Tensor | None = None

    def gradient_at(self, changed: Tensor) -> Tensor:
        """The gradient to go along at changed images: of the loss of the labels, or of minus it if they are targets."""
        assert self.model is not None, "without a model there are only conditions that need none"
        gradient = input_gradient(self.model, changed, self.labels, self.iteration.loss)[1]
        return gradient.neg_() if self.iteration.is_targeted else gradient

    def harm_of(self, changed: Tensor) -> Tensor:
        """How far changed images are on the way, float32 (batch,): the loss of the labels, or minus it."""
        assert self.model is not None, "without a model there are only conditions that need none"
        with torch.no_grad():
            return self.iteration.direction * losses(self.model(changed), self.labels, self.iteration.loss)


def fgsm(batch: Batch, epsilon: float) -> Tensor:
    """One step of `epsilon` up the loss (Goodfellow et al. 2015, arXiv:1412.6572)."""
    return step_along_signs(batch.images, batch.gradient, epsilon)


def fgm_l2(batch: Batch, epsilon: float) -> Tensor:
    """One step along the gradient itself, of the L2 that FGSM has: epsilon x sqrt(number of pixels and channels).

    Fast gradient method in L2 (Goodfellow et al. 2015; Miyato et al. 2017, arXiv:1605.07725). Pixels may move further
    than epsilon; where the gradient is 0 throughout, none moves.
    """
    flat = batch.gradient.flatten(1)
    largest = flat.abs().amax(1, keepdim=True)
    flat = flat / torch.where(largest > 0, largest, 1)  # Squares of gradients such as 1e-25 would vanish.
    length = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    direction = flat / torch.where(length > 0, length, 1)
    return overwrite_with_step(direction.view(batch.gradient.shape), batch.images, epsilon * flat.shape[1] ** 0.5)


def r_fgsm(batch: Batch, epsilon: float) -> Tensor:
    """Half of epsilon in a random direction, then half up the loss there (Tramer et al. 2018, arXiv:1705.07204)."""
    start = overwrite_with_step(batch.noise.signs(batch.images), batch.images, epsilon / 2)
    return overwrite_with_step(batch.gradient_at(start).sign(), start, epsilon / 2)


def bim(batch: Batch, epsilon: float) -> Tensor:
    """Basic iterative method: small FGSM steps kept within epsilon (Kurakin et al. 2017, arXiv:1607.02533)."""
    step = epsilon * (batch.iteration.step_size or 2.5 / batch.iteration.steps)
    changed = _within(batch.images, overwrite_with_step(batch.gradient.sign(), batch.images, step), epsilon)
    return _walked(batch, changed, epsilon, step, batch.iteration.steps - 1)


def pgd(batch: Batch, epsilon: float) -> Tensor:
    """Projected gradient descent: as `bim`, from uniform random starts within epsilon (Madry et al. 2018,
    arXiv:1706.06083). Of several restarts each image keeps the one with the most harmful loss.
    """
    images, iteration = batch.images, batch.iteration
    step = epsilon * (iteration.step_size or 2.5 / iteration.steps)
    best = images
    best_harm = torch.full((len(images),), -torch.inf, dtype=torch.float32, device=images.device)
    for restart in range(iteration.restarts):
        start = overwrite_with_step(batch.noise.uniform(images, restart), images, epsilon)
        changed = _walked(batch, start, epsilon, step, iteration.steps)
        if iteration.restarts == 1:
            return changed
        harm = batch.harm_of(changed)
        is_better = harm > best_harm
        best = torch.where(is_better.view(-1, *[1] * (images.dim() - 1)), changed, best)
        best_harm = torch.where(is_better, harm, best_harm)
    return best


def mi_fgsm(batch: Batch, epsilon: float) -> Tensor:
    """Momentum iterative FGSM: signs of the sum of all gradients so far, each divided by its mean size, with a decay
    factor of 1 (Dong et al. 2018, arXiv:1710.06081).
    """
    images, steps = batch.images, batch.iteration.steps
    step = epsilon * (batch.iteration.step_size or 1 / steps)
    changed, momentum = images, torch.zeros_like(images)
    for number in range(steps):
        gradient = batch.gradient_at(changed) if number else batch.gradient
        size = gradient.flatten(1).abs().mean(1).view(-1, *[1] * (images.dim() - 1))
        momentum = momentum + gradient / torch.where(size > 0, size, 1)
        changed = _within(images, overwrite_with_step(momentum.sign(), changed, step), epsilon)
    return changed


def step_along_signs(images: Tensor, direction: Tensor, step: float) -> Tensor:
    """Images plus `step` times the signs of a direction, kept in 0..1."""
    kernels = kernels_for(images, "steps")
    if kernels is not None and kernels.fits(images, direction):
        stepped: Tensor = kernels.sign_step(images, direction, step)
        return stepped
    return overwrite_with_step(direction.sign(), images, step)


def overwrite_with_step(direction: Tensor, images: Tensor, step: float) -> Tensor:
    """Writes the images plus `step` times `direction`, kept in 0..1, into `direction`, and returns it.

    Fresh memory would cost more than the step. What is needed later must not be handed over as the direction.
    """
    for part, benign in zip(cached_parts(direction), cached_parts(images), strict=True):
        part.mul_(step).add_(benign).clamp_(0, 1)
    return direction


def _walked(batch: Batch, start: Tensor, epsilon: float, step: float, steps: int) -> Tensor:
    """So many steps from `start`, never further than epsilon from the images."""
    changed = start
    for _ in range(steps):
        moved = step_along_signs(changed, batch.gradient_at(changed), step)
        changed = _within(batch.images, moved, epsilon)
    return changed


def _within(images: Tensor, changed: Tensor, epsilon: float) -> Tensor:
    """Changed images with every pixel brought to within epsilon of its own, still in 0..1."""
    return torch.min(torch.max(changed, images - epsilon), images + epsilon)
