"""Perturbations: from a batch of benign images and one gradient to the images of every condition of a run."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from psi_core.conditions import FOOLBOX, SIZED_BY_ATTACK, Condition, sizing_attack
from psi_core.config import RunOptions
from psi_core.engine.attacks.attacks import ITERATED_ATTACKS, ONE_STEP_ATTACKS, Iteration
from psi_core.engine.attacks.controls import CONTROLS, gaussian_noise
from psi_core.engine.attacks.foolbox import FoolboxAttack
from psi_core.engine.attacks.gradients import change_norms, gradient_of
from psi_core.engine.attacks.noise import Noise

_STEPS = {**ONE_STEP_ATTACKS, **CONTROLS}
_FOOLBOX_STEPS = 50
"""Gradients that an attack of foolbox may need, to guess at its time; it does not tell."""

_TARGET_STREAM = Condition("target").stream


@dataclass(frozen=True, slots=True)
class Perturbations:
    """What is done to the images of a run.

    Attributes:
        conditions: of the run, benign first.
        iteration: of attacks of more than one step.
        target: `none`, or how each image's class to reach is chosen: `least-likely`, `random` or `next`.
        seed: of the noise.
    """

    conditions: tuple[Condition, ...]
    iteration: Iteration = field(default_factory=Iteration)
    target: str = "none"
    seed: int = 0

    def of(self, model: nn.Module, inputs: Tensor, logits: Tensor, labels: Tensor, indices: Tensor) -> "PerturbedBatch":
        """One batch, with the gradient that its attacks share.

        Args:
            model: with frozen parameters, in eval mode.
            inputs: benign images (batch, channel, height, width), requiring a gradient.
            logits: of the model at them, with their graph.
            labels: int64 (batch,), true, or the model's own choices.
            indices: int64 (batch,), positions of the images in the data set.

        Raises:
            ModelError: no gradient reaches the images.
        """
        targets = None if self.target == "none" else self._targets(logits.detach(), labels, indices)
        gradient = gradient_of(logits, inputs, labels if targets is None else targets)
        gradient = gradient.neg_() if self.iteration.is_targeted else gradient
        return PerturbedBatch(self, model, inputs.detach(), gradient, labels, targets, indices)

    def _targets(self, logits: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        """The class that each image is to be taken for; never its label."""
        classes = logits.shape[1]
        if self.target == "least-likely":
            return logits.scatter(1, labels[:, None], torch.inf).argmin(1)
        if self.target == "next":
            return (labels + 1) % classes
        words = Noise(self.seed, indices, _TARGET_STREAM).words(0, 1)[:, 0]
        return (labels + 1 + (words >> 1).remainder(classes - 1)) % classes


def perturbations_of(config: RunOptions) -> Perturbations:
    """What a run's configuration says is done to its images."""
    step_size = None if config.step_size == "auto" else config.step_size
    iteration = Iteration(config.steps, step_size, config.restarts, config.target != "none")
    return Perturbations(config.conditions, iteration, config.target, config.seed)


def forwards_per_image(config: RunOptions) -> int:
    """The work of one image in forwards; a gradient costs about one more than the forward that it needs anyway."""
    gradients = {
        "r-fgsm": 1,
        "bim": config.steps - 1,
        "mi-fgsm": config.steps - 1,
        "pgd": config.steps * config.restarts,
    }
    searched = [each for each in config.conditions if each.epsilon > 0 and not each.shares_gradient]
    return len(config.conditions) + 1 + sum(2 * gradients.get(each.attack, _FOOLBOX_STEPS) for each in searched)


@dataclass(slots=True)
class PerturbedBatch:
    """One batch under the conditions of a run, made one by one when asked for.

    Attributes:
        perturbations: of the run.
        model: that is attacked.
        images: benign (batch, channel, height, width).
        gradient: that attacks climb: of the loss of the labels, or of the negative loss of the targets.
        labels: int64 (batch,).
        targets: classes to reach, int64 (batch,), or None.
        indices: int64 (batch,), positions in the data set.
    """

    perturbations: Perturbations
    model: nn.Module | None
    images: Tensor
    gradient: Tensor
    labels: Tensor
    targets: Tensor | None
    indices: Tensor
    _l2: dict[Condition, Tensor] = field(default_factory=dict)
    _foolbox: dict[str, FoolboxAttack] = field(default_factory=dict)

    def images_under(self, condition: Condition) -> Tensor:
        """The batch under a condition; not for images attacked elsewhere."""
        if condition.is_benign or condition.epsilon == 0:
            return self.images
        if condition.attack == SIZED_BY_ATTACK:
            return gaussian_noise(self.images, self._realized_l2(condition), self._noise(condition))
        if condition.attack in _STEPS:
            changed = _STEPS[condition.attack](self.images, self.gradient, condition.epsilon, self._noise(condition))
        else:
            changed = self._searched(condition)
        if any(each.attack == SIZED_BY_ATTACK for each in self.perturbations.conditions):
            self._l2.setdefault(condition, change_norms(changed, self.images)[1])
        return changed

    def _searched(self, condition: Condition) -> Tensor:
        """By an attack that asks the model again and again."""
        assert self.model is not None, "without a model there are only conditions that need none"
        labels, iteration = self.labels if self.targets is None else self.targets, self.perturbations.iteration
        noise = self._noise(condition)
        # Gradients cannot be had of what inference mode has made.
        with torch.inference_mode(False):
            if condition.attack.startswith(FOOLBOX):
                name = condition.attack.removeprefix(FOOLBOX)
                attack = self._foolbox.setdefault(name, FoolboxAttack(name, self.model, self.images, labels, iteration))
                return attack.within(condition.epsilon, noise)
            attack_of: Callable[..., Tensor] = ITERATED_ATTACKS[condition.attack]
            return attack_of(self.model, self.images, labels, self.gradient, condition.epsilon, noise, iteration)

    def _realized_l2(self, condition: Condition) -> Tensor:
        attack = sizing_attack(condition, self.perturbations.conditions)
        if attack not in self._l2:
            self.images_under(attack)
        return self._l2[attack]

    def _noise(self, condition: Condition) -> Noise:
        return Noise(self.perturbations.seed, self.indices, condition.stream)
