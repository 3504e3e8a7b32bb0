"""Attacks that write into what all conditions share: no condition after them is measured otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from psi_core.conditions import ATTACKS, BENIGN, Condition
from psi_core.engine.attacks import perturbations
from psi_core.engine.attacks.attacks import Iteration, overwrite_with_step
from psi_core.engine.attacks.perturbations import Perturbations
from psi_core.engine.images import load_dataset
from psi_core.engine.measure.compiled_step import CompiledStep
from tests.engine.measure.test_step import arrays_of, maker_of, small
from tests.engine.networks import perceptron

LATER = tuple(Condition(name, 0.1) for name in ("fgsm", "pgd", "mi-fgsm", "anti-fgsm", "sign-noise", "shuffled-fgsm"))
HOSTILE = (Condition("hostile", 0.05), Condition("hostile", 0.2))
IMAGES, BATCH = 6, 3


def tensors_of(batch):
    return batch.images, batch.gradient, batch.labels, batch.noise.indices


class Writes:
    """Overwrites the gradient, as one does who takes it for a direction of its own, and then the rest."""

    def __call__(self, batch, epsilon):
        changed = overwrite_with_step(batch.gradient, batch.images, epsilon).clone()
        for values in tensors_of(batch):
            values.data.zero_()
        return changed


class WritesLater:
    """Keeps all that it was lent, and writes into it when it is asked the next time."""

    def __init__(self):
        self.kept = []

    def __call__(self, batch, epsilon):
        for values in self.kept:
            values.zero_()
        self.kept = [view for values in tensors_of(batch) for view in (values, values[:])]
        return batch.images + epsilon


class Returns:
    """Gives back the gradient itself, and overwrites the next one that it gets with what it gave."""

    given = None

    def __call__(self, batch, epsilon):
        if self.given is not None:
            batch.gradient.copy_(self.given)
            self.given.fill_(0.5)
        self.given = batch.gradient
        return batch.gradient


@pytest.mark.parametrize("is_compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("kind", [Writes, WritesLater, Returns])
def test_a_hostile_attack_changes_no_number_of_the_conditions_after_it(kind, is_compiled, monkeypatch):
    monkeypatch.setitem(perturbations.FUNCTIONS, "hostile", kind())

    def measured(conditions):
        asked = Perturbations((Condition(BENIGN), *conditions), Iteration(2), seed=5)
        maker = maker_of(small(perceptron(10)), load_dataset("mnist", "test"), 8, batch=BATCH, perturbations=asked)
        if is_compiled:
            maker.step = CompiledStep(maker.plan, "cpu", BATCH, backend="eager")
        return arrays_of(maker, IMAGES)

    expected = measured(LATER)
    found = measured((HOSTILE[0], *LATER[:3], HOSTILE[1], *LATER[3:]))
    places = [0, 2, 3, 4, 6, 7, 8]
    for name in ("prediction", "confidence", "linf", "l2", "psi", "active_fraction", "mean_response"):
        assert np.array_equal(found[name][places], expected[name], equal_nan=True), name
    assert np.array_equal(found["index"], expected["index"])
    assert np.array_equal(found["label"], expected["label"])


def test_what_is_lent_takes_no_memory_until_somebody_writes():
    images, indices = torch.rand(6, 1, 8, 8), torch.arange(6)
    batch = perturbations.PerturbedBatch(
        Perturbations((Condition(BENIGN),)), None, images, images.clone(), indices * 0, None, indices
    )
    lent = batch._batch_for(Condition("fgsm", 0.1), None)
    assert all(torch._C._is_cow_tensor(values) for values in tensors_of(lent))
    for values in (lent.gradient.sign(), lent.gradient.flatten(1).abs(), lent.images + 1, lent.noise.signs(images)):
        assert values.isfinite().all()
    assert all(torch._C._is_cow_tensor(values) for values in tensors_of(lent))


@pytest.mark.parametrize("name", [row.name for row in ATTACKS if row.name in perturbations.FUNCTIONS])
def test_an_attack_of_this_package_writes_into_nothing_that_it_is_lent(name):
    # On a GPU it is lent what all conditions share.
    model, images, indices = small(perceptron(10)), torch.rand(6, 1, 8, 8), torch.arange(6)
    condition, others = Condition(name, 0.1), (Condition(BENIGN), Condition("fgsm", 0.1))
    asked = Perturbations((*others, condition) if name != "fgsm" else others, Iteration(3), seed=5)
    inputs = images.clone().requires_grad_()
    batch = asked.begin_batch(model, inputs, model(inputs), indices, indices)
    assert perturbations._only_reads(condition)
    shared = batch.images, batch.gradient, batch.labels, batch.indices
    before = [(values.clone(), values._version) for values in shared]
    first = batch.images_under(condition)
    assert all(each is not first for each in shared)
    lent = batch._batch_for(condition, torch.ones(6) if condition.row.copies_l2 else None)
    plain = replace(lent, images=batch.images, gradient=batch.gradient, labels=batch.labels)
    plain = replace(plain, noise=replace(lent.noise, indices=batch.indices))
    perturbations.FUNCTIONS[name](plain, 0.1).zero_()
    for values, (copy, version) in zip(shared, before, strict=True):
        assert torch.equal(values, copy)
        assert values._version == version
