"""Chunks of runs with many attacks: what is measured are the images that an attack makes, each under its own name."""

import numpy as np
import pytest
import torch

from psi_core.conditions import ATTACK_NAMES, BENIGN, CONTROL_NAMES, Condition, conditions_of
from psi_core.config import RunConfig
from psi_core.devices import CPU
from psi_core.engine.attacks.attacks import Iteration
from psi_core.engine.attacks.gradients import change_norms
from psi_core.engine.attacks.perturbations import Perturbations, forwards_per_image, perturbations_of
from psi_core.engine.images import load_dataset, network_inputs
from psi_core.engine.models.sources import build_classifier, model_source
from psi_core.engine.work.open_chunk import ChannelSums
from tests.engine.measure.test_step import arrays_of, maker_of, stored
from tests.engine.networks import seeded

IMAGES = 8


@pytest.fixture(scope="module")
def classifier():
    built = seeded(lambda: build_classifier(model_source("lenet5"), 10, "0.1307/0.3081"))
    return built.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("mnist", "test")


@pytest.mark.parametrize("target", ["none", "random"])
def test_every_condition_is_measured_on_the_images_that_its_attack_makes(target, classifier, dataset):
    conditions = conditions_of(ATTACK_NAMES, [0.0, 0.1], CONTROL_NAMES)
    perturbations = Perturbations(conditions, Iteration(3, is_targeted=target != "none"), target, seed=5)
    maker = maker_of(classifier, dataset, 28, perturbations=perturbations, batch=IMAGES)
    arrays = arrays_of(maker)
    images = network_inputs(torch.tensor(dataset.images[:IMAGES]), 28, 1)
    labels = torch.tensor(dataset.labels[:IMAGES])
    inputs = images.clone().requires_grad_()
    perturbed = perturbations.begin_batch(classifier, inputs, classifier(inputs), labels, torch.arange(IMAGES))
    for place, condition in enumerate(conditions):
        changed = perturbed.images_under(condition)
        logits, activations = stored(maker, changed)
        assert np.array_equal(arrays["prediction"][place], logits.argmax(1)), condition.name
        linf, l2 = change_norms(changed, images)
        np.testing.assert_allclose(arrays["linf"][place], linf, atol=1e-6)
        np.testing.assert_allclose(arrays["l2"][place], l2, atol=1e-5)
        responses = activations[0].flatten(1)
        share = responses.mean(1).square() / responses.square().mean(1)
        psi = (1 - share) / (1 - 1 / responses.shape[1])
        np.testing.assert_allclose(arrays["psi"][place, 0], psi, atol=1e-5, err_msg=condition.name)
        if condition.epsilon == 0:
            assert np.array_equal(arrays["psi"][place], arrays["psi"][0])
    assert ("target" in arrays) == (target != "none")
    if target != "none":
        assert np.array_equal(arrays["target"], perturbed.targets)


def test_an_attack_alone_gives_what_it_gives_beside_others(classifier, dataset):
    together = Perturbations(conditions_of(ATTACK_NAMES, [0.1], ["gaussian"]), Iteration(3), seed=5)
    whole = arrays_of(maker_of(classifier, dataset, 28, perturbations=together))
    names = [condition.name for condition in together.conditions]
    for name in ATTACK_NAMES:
        alone = Perturbations((Condition(BENIGN), Condition(name, 0.1)), Iteration(3), seed=5)
        arrays = arrays_of(maker_of(classifier, dataset, 28, perturbations=alone))
        assert np.array_equal(arrays["psi"][1], whole["psi"][names.index(f"{name}@0.1")]), name


@pytest.mark.parametrize("target", ["none", "random"])
def test_a_chunk_has_the_same_bits_whoever_makes_it_and_after_what(target, classifier, dataset):
    conditions = conditions_of(ATTACK_NAMES, [0.1], CONTROL_NAMES)
    iteration = Iteration(2, restarts=2, is_targeted=target != "none")
    made = []
    for chunks in ([np.arange(3), np.arange(3, 8)], [np.arange(3, 8)]):
        maker = maker_of(
            classifier, dataset, 28, perturbations=Perturbations(conditions, iteration, target, 5), batch=2
        )
        arrays = [maker.make(chunk, lambda _chunk: None, lambda _before, _after: None) for chunk in chunks]
        made.append(arrays[-1])
    one, other = made
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert np.array_equal(array, other[name], equal_nan=True), name


def test_a_gaussian_control_before_its_attack_is_the_same(classifier, dataset):
    attack, control = Condition("pgd", 0.1), Condition("gaussian", 0.1)
    orders = [(Condition(BENIGN), attack, control), (Condition(BENIGN), control, attack)]
    before, after = (
        arrays_of(maker_of(classifier, dataset, 28, perturbations=Perturbations(order, Iteration(3), seed=5)))
        for order in orders
    )
    assert np.array_equal(before["psi"][2], after["psi"][1])
    np.testing.assert_allclose(before["l2"][2], before["l2"][1], rtol=1e-4)


def test_class_sums_take_room_for_the_classes_of_the_chunk_only():
    random = np.random.default_rng(0)
    batches = [(random.choice([3, 17, 999], 6), torch.rand(2, 6, 4, dtype=torch.float64)) for _ in range(3)]
    sums = ChannelSums(2, [4], CPU)
    for labels, means in batches:
        sums.add(labels, [[mean] for mean in means])
    labels = np.concatenate([labels for labels, _ in batches])
    means = torch.cat([means for _, means in batches], 1)
    present = np.unique(labels)
    expected = np.stack([means[:, labels == label].sum(1) for label in present], 1)
    np.testing.assert_allclose(sums.by_class(0, present), expected, rtol=1e-12)
    np.testing.assert_allclose(sums.squares(0), means.square().sum(1), rtol=1e-12)
    assert sums._sums[0].shape == (2, 3, 4)


def test_a_configuration_says_what_is_done():
    config = RunConfig(attack="pgd", target="next", steps=7, step_size=0.5, restarts=2, seed=9)
    perturbations = perturbations_of(config)
    assert perturbations == Perturbations(config.conditions, Iteration(7, 0.5, 2, True), "next", 9)
    assert perturbations_of(RunConfig()).iteration == Iteration()


@pytest.mark.parametrize(
    ("options", "forwards"),
    [
        # Benign and its gradient, FGSM, three controls.
        ({}, 6),
        ({"epsilon": "0,0.1,0.2"}, 11),
        ({"attack": "pgd", "controls": "none", "steps": 10, "restarts": 3}, 3 + 60),
        ({"attack": "bim", "controls": "none", "steps": 10}, 3 + 18),
        ({"attack": "r-fgsm", "controls": "none"}, 3 + 2),
        # At epsilon 0 nothing is searched for.
        ({"attack": "pgd", "controls": "none", "epsilon": "0,0.1", "steps": 10}, 4 + 20),
    ],
)
def test_the_work_of_an_image_is_told_in_forwards(options, forwards):
    assert forwards_per_image(RunConfig(**options)) == forwards


@pytest.mark.parametrize("epsilons", [[0.1], [0.0, 0.01, 0.03, 0.1, 0.3]])
def test_a_sweep_costs_one_gradient_and_a_forward_an_epsilon(epsilons, classifier, dataset, monkeypatch):
    gradients = []
    taken = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **options: gradients.append(1) or taken(*args, **options))
    conditions = conditions_of(["fgsm", "fgm-l2"], epsilons, ["sign-noise", "anti-fgsm", "shuffled-fgsm"])
    maker = maker_of(classifier, dataset, 28, perturbations=Perturbations(conditions, seed=5), batch=IMAGES)
    forwards = []
    handle = classifier.network.register_forward_hook(lambda *_: forwards.append(1))
    arrays_of(maker)
    handle.remove()
    assert (len(forwards), len(gradients)) == (len(conditions), 1)
