"""Attacks and controls: gradients worked by hand, and laws over every one of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from psi_core.conditions import ATTACK_NAMES, BENIGN, CONTROL_NAMES, Condition, attack_row, sizing_attack
from psi_core.engine import attack, fgsm
from psi_core.engine.attacks import controls
from psi_core.engine.attacks.attacks import Batch, Iteration
from psi_core.engine.attacks.gradients import change_norms, input_gradient, losses
from psi_core.engine.attacks.noise import Noise
from psi_core.engine.attacks.perturbations import Perturbations
from tests.engine.networks import images_of, seeded

NAMES = (*ATTACK_NAMES, *CONTROL_NAMES)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
MODEL = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3)))
MODEL.eval().requires_grad_(False)
IN_L2 = ("fgm-l2", "gaussian")
every = pytest.mark.parametrize("name", NAMES)
epsilons = st.floats(1e-4, 1)


def changed(names, images, labels=LABELS, epsilon=0.1, rows=slice(None), target="none", seed=3, **iteration):
    """Images under conditions of these names, in order; those of `rows` in a batch of their own."""
    conditions = tuple(Condition(name, epsilon) for name in names)
    perturbations = Perturbations(
        (Condition(BENIGN), Condition("fgsm", epsilon), *conditions),
        Iteration(**{"steps": 4, **iteration}, is_targeted=target != "none"),
        target,
        seed,
    )
    inputs = images[rows].clone().requires_grad_()
    perturbed = perturbations.begin_batch(MODEL, inputs, MODEL(inputs), labels[rows], torch.arange(len(images))[rows])
    return [perturbed.images_under(condition) for condition in conditions]


def loss(images, labels=LABELS):
    return losses(MODEL(images), labels)


class Linear(nn.Module):
    """Two pixels, two classes: logits x0 - 2 x1 and 0."""

    def forward(self, images):
        flat = images.flatten(1)
        logit = flat[:, 0] - 2 * flat[:, 1]
        return torch.stack([logit, torch.zeros_like(logit)], 1)


def test_a_gradient_worked_by_hand():
    # The margin of class 0 is -z with z = x0 - 2 x1; its cross-entropy is log(1 + exp(-z)), and here z = 0.
    images = torch.tensor([0.5, 0.25]).view(1, 1, 1, 2)
    logits, gradient = input_gradient(Linear(), images, torch.tensor([0]))
    assert logits.tolist() == [[0, 0]]
    assert gradient.flatten().tolist() == [-1, 2]
    assert input_gradient(Linear(), images, torch.tensor([0]), "cross-entropy")[1].flatten().tolist() == [-0.5, 1]
    assert fgsm(Linear(), images, torch.tensor([0]), 0.25).flatten().tolist() == [0.25, 0.5]
    assert fgsm(Linear(), images, torch.tensor([1]), 0.25).flatten().tolist() == [0.75, 0]
    assert fgsm(Linear(), images, torch.tensor([0]), 1).flatten().tolist() == [0, 1]


def test_steps_worked_by_hand():
    # The gradient always points along (-1, 2): signs (-1, 1), unit length (-1, 2) / sqrt 5.
    images, label = torch.tensor([0.5, 0.25]).view(1, 1, 1, 2), torch.tensor([0])

    def found(name, epsilon, **options):
        return attack(Linear(), images, label, name, epsilon, **options).flatten().tolist()

    # The L2 of FGSM's step is 0.1 sqrt 2.
    length = 0.1 * 2**0.5 / 5**0.5
    assert found("fgm-l2", 0.1) == pytest.approx([0.5 - length, 0.25 + 2 * length])
    # Two steps of 0.4 x 0.2 stay within 0.2; three are cut there.
    assert found("bim", 0.2, steps=2, step_size=0.4) == pytest.approx([0.34, 0.41])
    assert found("bim", 0.2, steps=3, step_size=0.4) == pytest.approx([0.3, 0.45])
    assert found("mi-fgsm", 0.2, steps=4) == pytest.approx([0.3, 0.45])
    assert found("pgd", 0.2) == pytest.approx([0.3, 0.45])
    # Every random step is taken back or doubled.
    assert {round(value, 6) for value in found("r-fgsm", 0.2)} <= {0.5, 0.3, 0.25, 0.45}
    assert found("bim", 0.2, is_targeted=True) == pytest.approx([0.7, 0.05])


def test_without_labels_the_models_own_choices_stand_in():
    images = images_of(4)
    choices = MODEL(images).argmax(1)
    assert torch.equal(input_gradient(MODEL, images, None)[1], input_gradient(MODEL, images, choices)[1])


@every
@settings(max_examples=15, deadline=None)
@given(epsilon=epsilons, seed=st.integers(0, 99), target=st.sampled_from(["none", "random"]))
def test_nothing_goes_further_than_epsilon_or_leaves_the_range(name, epsilon, seed, target):
    images = images_of(6, seed=seed)
    (made,) = changed([name], images, epsilon=epsilon, target=target, seed=seed)
    linf, l2 = change_norms(made, images)
    if name in IN_L2:
        assert (l2 <= epsilon * 8 * (1 + 1e-5)).all()
    else:
        assert (linf <= epsilon + 1e-6).all()
    assert made.min() >= 0
    assert made.max() <= 1
    assert not made.requires_grad


@every
def test_epsilon_0_gives_exactly_the_images(name):
    images = images_of(6)
    assert torch.equal(changed([name], images, epsilon=0.0)[0], images)


@pytest.mark.parametrize("name", [name for name in NAMES if not attack_row(name).pairs_images])
@settings(max_examples=8, deadline=None)
@given(rows=st.sampled_from([[4], [5, 0, 2], [1, 2, 3, 4, 5]]), epsilon=epsilons)
def test_an_image_is_changed_alike_in_any_batch(name, rows, epsilon):
    images = images_of(6)
    (whole,), (part,) = changed([name], images, epsilon=epsilon), changed([name], images, epsilon=epsilon, rows=rows)
    torch.testing.assert_close(part, whole[rows], atol=1e-6, rtol=0)


@every
def test_an_image_without_a_gradient_is_left_alone_by_what_follows_it(name):
    images = images_of(6)
    condition = Condition(name, 0.1)
    perturbations = Perturbations((Condition(BENIGN), Condition("fgsm", 0.1), condition), Iteration(steps=3))
    inputs = images.clone().requires_grad_()
    perturbed = perturbations.begin_batch(Dead(), inputs, Dead()(inputs), LABELS, torch.arange(6))
    takes_a_step_of_0 = condition.follows_gradient or name in ("gaussian", "donor")
    assert torch.equal(perturbed.images_under(condition), images) == takes_a_step_of_0


class Dead(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :3] * 0


def test_stronger_attacks_do_more_harm_than_noise():
    images = images_of(6)
    benign = loss(images)
    harm = {name: (loss(made) - benign) for name, made in zip(NAMES, changed(NAMES, images, steps=10), strict=True)}
    for name in ATTACK_NAMES:
        assert (harm[name] > harm["sign-noise"]).all(), name
        assert (harm[name] > harm["gaussian"]).all(), name
    assert (harm["anti-fgsm"] < 0).all()
    for name in ("bim", "pgd", "mi-fgsm"):
        assert (harm[name] >= harm["fgsm"] - 1e-4).all(), name


def test_fgsm_and_anti_fgsm_mirror_each_other():
    images = images_of(6)
    up, down = changed(["fgsm", "anti-fgsm"], images, epsilon=0.03)
    inside = (images > 0.04) & (images < 0.96)
    torch.testing.assert_close((up - images)[inside], (images - down)[inside], atol=1e-6, rtol=0)


def test_every_further_restart_of_pgd_does_at_least_as_much_harm():
    images = images_of(6)
    before = torch.full((6,), -torch.inf)
    for restarts in (1, 2, 5):
        after = loss(changed(["pgd"], images, restarts=restarts, steps=1)[0])
        assert (after >= before - 1e-6).all()
        before = after
    assert (after > loss(changed(["pgd"], images, steps=1)[0]) + 1e-6).any()


@pytest.mark.parametrize("target", ["least-likely", "random", "next"])
@pytest.mark.parametrize("name", ATTACK_NAMES)
def test_a_targeted_attack_brings_the_target_nearer(name, target):
    images = images_of(6)
    inputs = images.clone().requires_grad_()
    perturbations = Perturbations((Condition(BENIGN), Condition(name, 0.1)), Iteration(4, is_targeted=True), target, 3)
    perturbed = perturbations.begin_batch(MODEL, inputs, MODEL(inputs), LABELS, torch.arange(6))
    made = perturbed.images_under(Condition(name, 0.1))
    assert (perturbed.targets != LABELS).all()
    assert (loss(made, perturbed.targets) < loss(images, perturbed.targets)).all()


def test_targets_are_the_least_likely_the_next_or_any_other_class():
    images, logits = images_of(6), MODEL(images_of(6))

    def targets(target, rows=slice(None)):
        inputs = images[rows].clone().requires_grad_()
        perturbations = Perturbations(
            (Condition(BENIGN), Condition("fgsm", 0.1)), Iteration(is_targeted=True), target, 3
        )
        return perturbations.begin_batch(MODEL, inputs, MODEL(inputs), LABELS[rows], torch.arange(6)[rows]).targets

    others = logits.scatter(1, LABELS[:, None], torch.inf)
    assert torch.equal(targets("least-likely"), others.argmin(1))
    assert torch.equal(targets("next"), torch.tensor([1, 2, 0, 1, 2, 0]))
    assert torch.equal(targets("random", [4, 1]), targets("random")[[4, 1]])


def test_random_targets_are_every_other_class_equally_often():
    labels = torch.zeros(3000, dtype=torch.int64)
    inputs = torch.zeros(3000, 1, 8, 8, requires_grad=True)
    perturbations = Perturbations((Condition(BENIGN), Condition("fgsm", 0.1)), Iteration(is_targeted=True), "random", 3)
    counts = torch.bincount(perturbations.begin_batch(MODEL, inputs, MODEL(inputs), labels, torch.arange(3000)).targets)
    assert counts[0] == 0
    assert abs(counts[1].item() - 1500) < 5 * (3000 / 4) ** 0.5


@settings(max_examples=20, deadline=None)
@given(epsilon=st.floats(1e-3, 0.5), seed=st.integers(0, 99))
def test_gaussian_noise_has_the_l2_that_the_attack_realized(epsilon, seed):
    images = images_of(6, seed=seed)
    attacked, noisy = changed(["fgsm", "gaussian"], images, epsilon=epsilon)
    wanted, realized = change_norms(attacked, images)[1], change_norms(noisy, images)[1]
    torch.testing.assert_close(realized, wanted, rtol=1e-4, atol=0)


def test_gaussian_noise_goes_by_the_first_attack_at_its_epsilon():
    conditions = [Condition(name, epsilon) for name in ("pgd", "fgsm", "gaussian") for epsilon in (0.1, 0.03)]
    assert sizing_attack(Condition("gaussian", 0.03), conditions) == Condition("pgd", 0.03)


def test_shuffled_fgsm_has_the_steps_of_fgsm_elsewhere():
    images = torch.full((6, 3, 9, 9), 0.5)
    gradient = torch.randn(6, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    perturbations = Perturbations((Condition(BENIGN),), seed=3)
    inputs = images.clone().requires_grad_()
    logits = (inputs * gradient).flatten(1)[:, :1] @ torch.tensor([[1.0, 0.0, 0.0]])
    perturbed = perturbations.begin_batch(MODEL, inputs, logits, LABELS, torch.arange(6))
    perturbed.gradient = gradient
    plain, shuffled = (perturbed.images_under(Condition(name, 0.1)) for name in ("fgsm", "shuffled-fgsm"))
    assert not torch.equal(plain, shuffled)
    for one, other in zip((plain - images).flatten(2), (shuffled - images).flatten(2), strict=True):
        # Columns are pixels: the same columns, each with its channels, in another order.
        assert sorted(map(tuple, one.T.tolist())) == sorted(map(tuple, other.T.tolist()))


@pytest.mark.parametrize(("images", "beside"), [(6, [1, 0, 3, 2, 5, 4]), (5, [1, 0, 3, 2, 3])])
def test_donor_takes_the_step_of_the_image_beside_it(images, beside):
    signs = torch.randn(images, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    batch = Batch(torch.full_like(signs, 0.5), signs, Noise(0, torch.arange(images), 1), LABELS[:images])
    changed = controls.donor(batch, 0.1)
    torch.testing.assert_close(changed, 0.5 + 0.1 * signs[beside].sign())


@pytest.mark.parametrize("rows", [[2, 3], [0, 1, 4, 5]])
def test_donor_needs_its_pair_alone(rows):
    images = images_of(6)
    (whole,), (part,) = changed(["donor"], images), changed(["donor"], images, rows=rows)
    torch.testing.assert_close(part, whole[rows], atol=1e-6, rtol=0)


def test_donor_of_an_image_alone_is_its_own_step_mirrored():
    signs = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    batch = Batch(torch.full_like(signs, 0.5), signs, Noise(0, torch.arange(1), 1), LABELS[:1])
    torch.testing.assert_close(controls.donor(batch, 0.1), 0.5 + 0.1 * signs.sign().flip(-1))


def test_the_gradient_of_an_image_does_not_depend_on_its_batch():
    images = images_of(6)
    alone = [input_gradient(MODEL, images[i : i + 1], LABELS[i : i + 1])[1] for i in range(6)]
    torch.testing.assert_close(torch.cat(alone), input_gradient(MODEL, images, LABELS)[1])
