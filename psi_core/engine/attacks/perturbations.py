"""Perturbations: from a batch of benign images and one gradient to the images of every condition of a run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from psi_core.conditions import ATTACKS, FOOLBOX, Condition, sizing_attack
from psi_core.config import RunOptions
from psi_core.engine.attacks import attacks, controls
from psi_core.engine.attacks.attacks import Batch, Iteration
from psi_core.engine.attacks.foolbox import FoolboxAttack
from psi_core.engine.attacks.gradients import gradient_of, l2_norms
from psi_core.engine.attacks.noise import Noise

FUNCTIONS: Mapping[str, Callable[[Batch, float], Tensor]] = {
    row.name: getattr(controls if row.is_control else attacks, row.name.replace("-", "_")) for row in ATTACKS
}
"""Functions by attack name, each called as its row: from a batch and an epsilon to changed images."""

_TARGET_STREAM = Condition("target").stream


@dataclass(frozen=True, slots=True)
class Perturbations:
    """What is done to the images of a run.

    Attributes:
        conditions: conditions of the run, benign first.
        iteration: settings of attacks of more than one step.
        target: `none`, or how each image's class to reach is chosen: `least-likely`, `random` or `next`.
        seed: seed of the noise.
        sizing: the attacks whose L2 a control copies.
    """

    conditions: tuple[Condition, ...]
    iteration: Iteration = field(default_factory=Iteration)
    target: str = "none"
    seed: int = 0
    sizing: frozenset[Condition] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizing = frozenset(sizing_attack(each, self.conditions) for each in self.conditions if each.row.copies_l2)
        object.__setattr__(self, "sizing", sizing)

    def begin_batch(
        self, model: nn.Module, inputs: Tensor, logits: Tensor, labels: Tensor, indices: Tensor
    ) -> "PerturbedBatch":
        """One batch, with the gradient that its attacks share.

        Args:
            model: network with frozen parameters, in eval mode.
            inputs: benign images (batch, channel, height, width), requiring a gradient.
            logits: the model's logits at them, with their graph.
            labels: int64 (batch,), true, or the model's own choices.
            indices: int64 (batch,), positions of the images in the data set.

        Raises:
            ModelError: no gradient reaches the images.
        """
        if len(self.conditions) == 1:  # Benign images alone need no gradient, and a network may have none.
            gradient = torch.zeros_like(inputs)
            return PerturbedBatch(self, model, inputs.detach(), gradient, labels, None, indices)
        targets = None if self.target == "none" else self._targets(logits.detach(), labels, indices)
        gradient = gradient_of(logits, inputs, labels if targets is None else targets, self.iteration.loss)
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
    iteration = Iteration(config.steps, step_size, config.restarts, config.target != "none", config.loss)
    return Perturbations(config.conditions, iteration, config.target, config.seed)


def forwards_per_image(config: RunOptions) -> int:
    """The work of one image in forwards; a gradient counts as two."""
    if len(config.conditions) == 1:
        return 1
    further = [each.row.gradients(config) for each in config.conditions if each.epsilon > 0]
    return len(config.conditions) + 1 + sum(2 * gradients for gradients in further)


@dataclass(slots=True)
class PerturbedBatch:
    """One batch under the conditions of a run, made one by one when asked for.

    Attributes:
        perturbations: perturbations of the run.
        model: network under attack.
        images: benign images (batch, channel, height, width).
        gradient: gradient of the loss for the labels, or minus that for the targets; attacks go along it.
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
        """The batch under a condition; not for external images."""
        if condition.is_benign or condition.epsilon == 0:
            return self.images
        l2 = self._first_attacks_l2(condition) if condition.row.copies_l2 else None
        # Tensors made in inference mode cannot carry gradients.
        with torch.inference_mode(False), torch.no_grad():
            batch = self._batch_for(condition, l2)
            if condition.is_foolbox:
                changed = self._by_foolbox(condition, batch)
            else:
                changed = FUNCTIONS[condition.attack](batch, float(condition.epsilon))
        if condition in self.perturbations.sizing:
            self._l2.setdefault(condition, l2_norms(changed, self.images))
        return changed

    def _batch_for(self, condition: Condition, l2: Tensor | None) -> Batch:
        """Inputs for a condition's function. One that writes into them gets copies of its own at that moment.

        On a GPU functions of this package, which write into none, get the tensors themselves: a kernel that only reads
        a tensor to be copied on write would have it copied.
        """
        lent = _as_it_is if self.images.is_cuda and _only_reads(condition) else _copied_on_write
        return Batch(
            lent(self.images),
            lent(self.gradient),
            Noise(self.perturbations.seed, lent(self.indices), condition.stream),
            lent(self.labels if self.targets is None else self.targets),
            self.model,
            self.perturbations.iteration,
            None if l2 is None else lent(l2),
        )

    def _by_foolbox(self, condition: Condition, batch: Batch) -> Tensor:
        name = condition.attack.removeprefix(FOOLBOX)
        if name not in self._foolbox:
            assert self.model is not None, "without a model there are only conditions that need none"
            self._foolbox[name] = FoolboxAttack(name, self.model, batch.images, batch.labels, batch.iteration)
        if condition.has_epsilon:
            return self._foolbox[name].within(float(condition.epsilon), batch.noise)
        return self._foolbox[name].smallest(batch.noise)

    def failed_under(self, condition: Condition) -> Tensor | None:
        """Images that an attack failed on, bool (batch,), once `images_under` has left them as they are; else None."""
        is_asked = condition.is_foolbox and condition.epsilon != 0
        attack = self._foolbox.get(condition.attack.removeprefix(FOOLBOX)) if is_asked else None
        return None if attack is None else attack.failed

    def _first_attacks_l2(self, condition: Condition) -> Tensor:
        attack = sizing_attack(condition, self.perturbations.conditions)
        if attack not in self._l2:
            self.images_under(attack)
        return self._l2[attack]


def _only_reads(condition: Condition) -> bool:
    """Whether a condition's function is one of this package, none of which writes into what it is given."""
    return not condition.is_foolbox and FUNCTIONS[condition.attack].__module__ in (attacks.__name__, controls.__name__)


def _as_it_is(values: Tensor) -> Tensor:
    return values


def _copied_on_write(values: Tensor) -> Tensor:
    """The same values as a tensor of its own, in shared memory until somebody writes into either.

    All conditions share the images and their gradient, and an attack that writes into them must change no other. This
    takes 2 microseconds; a copy for every condition would take a quarter as long as a step of FGSM, or more.
    """
    share = getattr(torch, "_lazy_clone", torch.clone)  # A private name of torch's: without it every copy is made.
    try:
        return share(values)
    except RuntimeError:  # Memory that belongs to another library, such as numpy, cannot be shared so.
        return values.clone()
