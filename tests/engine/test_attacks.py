"""Attacks: one gradient worked by hand, and laws over every attack and control."""

import pytest
import torch
from torch import nn

from psi_core.conditions import Condition
from psi_core.engine import fgsm
from psi_core.engine.attacks import ATTACKS, CONTROLS, gradient_of, input_gradient
from psi_core.engine.noise import Noise
from psi_core.errors import PsiError
from tests.engine.networks import images_of, moody, perceptron

STEPS = {**ATTACKS, **CONTROLS}
EPSILONS = [0.0, 0.03, 0.1, 1.0]
every_step = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)


@pytest.fixture(scope="module")
def images():
    return images_of(6)


@pytest.fixture(scope="module")
def labels():
    return torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.fixture(scope="module")
def gradient(images, labels):
    return input_gradient(perceptron().eval().requires_grad_(False), images, labels)[1]


def noise_of(count, name="sign-noise"):
    return Noise(3, torch.arange(count), Condition(name, 0.1).stream)


class Linear(nn.Module):
    """Two pixels, two classes: logits x0 - 2 x1 and 0."""

    def forward(self, images):
        flat = images.flatten(1)
        logit = flat[:, 0] - 2 * flat[:, 1]
        return torch.stack([logit, torch.zeros_like(logit)], 1)


def test_a_gradient_worked_by_hand():
    # Loss of class 0 is log(1 + exp(-z)) with z = x0 - 2 x1, so its gradient is -sigmoid(-z) (1, -2); here z = 0.
    images = torch.tensor([0.5, 0.25]).view(1, 1, 1, 2)
    logits, gradient = input_gradient(Linear(), images, torch.tensor([0]))
    assert logits.tolist() == [[0, 0]]
    assert gradient.flatten().tolist() == [-0.5, 1]
    assert fgsm(Linear(), images, torch.tensor([0]), 0.25).flatten().tolist() == [0.25, 0.5]
    assert fgsm(Linear(), images, torch.tensor([1]), 0.25).flatten().tolist() == [0.75, 0]
    assert fgsm(Linear(), images, torch.tensor([0]), 1).flatten().tolist() == [0, 1]


def test_without_labels_the_models_own_choices_stand_in():
    images = images_of(4)
    model = perceptron().eval()
    choices = model(images).argmax(1)
    assert torch.equal(input_gradient(model, images, None)[1], input_gradient(model, images, choices)[1])


@every_step
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_the_change_never_exceeds_epsilon_and_pixels_stay_in_range(step, epsilon, images, gradient):
    changed = step(images, gradient, epsilon, noise_of(6))
    assert (changed - images).abs().max() <= epsilon + 1e-6
    assert changed.min() >= 0
    assert changed.max() <= 1


@every_step
def test_epsilon_0_gives_exactly_the_images(step, images, gradient):
    assert torch.equal(step(images, gradient, 0.0, noise_of(6)), images)


@every_step
def test_a_step_moves_every_pixel_that_may_move(step, images, gradient):
    moved = (step(images, gradient, 0.03, noise_of(6)) - images).abs()
    inside = (images > 0.04) & (images < 0.96) & (gradient != 0)
    assert inside.sum() > 100
    torch.testing.assert_close(moved[inside], torch.full_like(moved[inside], 0.03), atol=1e-6, rtol=0)


@every_step
def test_an_image_is_changed_alike_in_any_batch(step, images, gradient):
    noise = noise_of(6)
    whole = step(images, gradient, 0.1, noise)
    for rows in ([4], [5, 0, 2]):
        part = Noise(noise.seed, noise.indices[rows], noise.stream)
        assert torch.equal(step(images[rows], gradient[rows], 0.1, part), whole[rows])


def test_fgsm_and_anti_fgsm_mirror_each_other_and_move_the_loss(images, labels, gradient):
    def loss(changed):
        return nn.functional.cross_entropy(perceptron()(changed), labels).item()

    up, down = (STEPS[name](images, gradient, 0.03, noise_of(6)) for name in ("fgsm", "anti-fgsm"))
    assert loss(down) < loss(images) < loss(up)
    inside = (images > 0.04) & (images < 0.96)
    torch.testing.assert_close((up - images)[inside], (images - down)[inside], atol=1e-6, rtol=0)


def test_the_gradient_of_an_image_does_not_depend_on_its_batch(images, labels, gradient):
    alone = [input_gradient(perceptron().eval(), images[i : i + 1], labels[i : i + 1])[1] for i in range(6)]
    torch.testing.assert_close(torch.cat(alone), gradient)


@pytest.mark.parametrize("rows", [[3], [5, 0, 1]])
def test_fgsm_of_an_image_does_not_depend_on_its_batch(rows, images, labels):
    whole = fgsm(perceptron(), images, labels, 0.1)
    assert torch.equal(fgsm(perceptron(), images[rows], labels[rows], 0.1), whole[rows])


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_fgsm_works_in_any_gradient_mode_on_images_made_there(context, images, labels):
    model = moody()
    expected = fgsm(model, images, labels, 0.1)
    with context():
        attacked = fgsm(model, images.clone(), labels.clone(), 0.1)
        assert torch.equal(attacked, expected)
        assert not attacked.requires_grad
        assert not attacked.is_inference()


def test_fgsm_of_images_inside_a_graph_stays_outside_it(images, labels):
    leaf = images.clone().requires_grad_()
    attacked = fgsm(perceptron(), leaf * 1, labels, 0.1)
    assert torch.equal(attacked, fgsm(perceptron(), images, labels, 0.1))
    assert not attacked.requires_grad
    assert leaf.grad is None


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8])
def test_fgsm_takes_labels_of_any_integer_type(kind, images, labels):
    assert torch.equal(fgsm(perceptron(), images, labels.to(kind)), fgsm(perceptron(), images, labels))


def test_fgsm_keeps_the_precision_of_the_images(images, labels):
    assert fgsm(perceptron().double(), images.double(), labels).dtype == torch.float64


@pytest.mark.parametrize("epsilon", [-0.1, 1.5, 8, float("nan"), float("inf")])
def test_fgsm_refuses_an_epsilon_outside_0_to_1(epsilon, images, labels):
    with pytest.raises(ValueError, match="epsilon") as refusal:
        fgsm(perceptron(), images, labels, epsilon)
    assert isinstance(refusal.value, PsiError)


def damaged(images, value):
    images = images.clone()
    images[2, 0, 3, 3] = value
    return images


@pytest.mark.parametrize(
    "spoil",
    [
        lambda images: (255 * images).to(torch.uint8),
        lambda images: images.long(),
        lambda images: 255 * images,
        lambda images: images - 0.5,
        lambda images: damaged(images, torch.nan),
        lambda images: damaged(images, torch.inf),
        lambda images: damaged(images, -torch.inf),
    ],
)
def test_fgsm_refuses_images_that_are_not_in_0_to_1(spoil, images, labels):
    with pytest.raises(ValueError, match="images") as refusal:
        fgsm(perceptron(), spoil(images), labels)
    assert isinstance(refusal.value, PsiError)


@pytest.mark.parametrize(
    "wrong",
    [[0, 1], [0, 1, 2, 0, 1, 3], [0, 1, 2, 0, 1, -1], [0, 1, 2, 0, 1, -100], [0.0] * 6, [[0]] * 6, [True] * 6],
)
def test_fgsm_refuses_labels_that_do_not_fit(wrong, images):
    with pytest.raises(ValueError, match="labels") as refusal:
        fgsm(perceptron(), images, torch.tensor(wrong))
    assert isinstance(refusal.value, PsiError)


class Deaf(nn.Module):
    def forward(self, images):
        with torch.no_grad():
            return images.flatten(1)[:, :3]


def test_fgsm_refuses_a_model_whose_gradient_does_not_reach_its_input(images, labels):
    with pytest.raises(ValueError, match="no gradient reaches its input"):
        fgsm(Deaf(), images, labels)
    with pytest.raises(ValueError, match="no gradient reaches its input"):
        gradient_of(nn.Linear(2, 3)(torch.ones(1, 2)), torch.ones(1, 2).requires_grad_(), torch.tensor([0]))


class Broken(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :3] * torch.nan


def test_fgsm_refuses_a_model_that_answers_with_nan(images, labels):
    with pytest.raises(ValueError, match="NaN"):
        fgsm(Broken(), images, labels)


@pytest.mark.parametrize("layer", [nn.Identity(), nn.RNN(8, 3)])
def test_fgsm_refuses_a_model_that_gives_no_logits(layer, images, labels):
    with pytest.raises(ValueError, match="not logits"):
        fgsm(nn.Sequential(nn.Flatten(1, 2), layer), images, labels)
