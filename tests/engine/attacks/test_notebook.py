"""Attacks on any module: nothing wrong is taken, nothing of the module is changed."""

import numpy as np
import pytest
import torch
from torch import nn

from psi_core.conditions import ATTACK_NAMES
from psi_core.engine import attack, fgsm
from psi_core.engine.attacks.gradients import gradient_of
from psi_core.errors import PsiError
from tests.engine.networks import images_of, moody, perceptron


@pytest.fixture(scope="module")
def images():
    return images_of(6)


@pytest.fixture(scope="module")
def labels():
    return torch.tensor([0, 1, 2, 0, 1, 2])


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


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"labels": np.zeros(6, np.int64)}, r"labels: numpy.ndarray is no tensor; give torch.as_tensor\(labels\)"),
        ({"labels": [0] * 6}, r"labels: list is no tensor; give torch.as_tensor\(labels\)"),
        ({"labels": None}, "labels: None is no tensor; give one of integers"),
        ({"images": np.zeros((6, 1, 8, 8))}, r"give torch.as_tensor\(images, dtype=torch.float32\)"),
        ({"images": "digits.png"}, "images: str is no tensor; give one of floats"),
        ({"images": torch.zeros(6, 1, 8, 8).to_sparse()}, "images: the tensor is sparse"),
        ({"images": torch.zeros(6, 1, 8, 8, device="meta")}, "images: the tensor is on the meta device"),
        ({"images": torch.zeros(6, 1, 8, 8).to(torch.float8_e5m2)}, "images: torch.float8_e5m2 is no type"),
        ({"images": torch.zeros(6)}, r"images: \(6,\) is not \(batch, channel, height, width\)"),
        ({"epsilon": None}, "epsilon: None does not fit"),
        ({"epsilon": "a"}, "epsilon: 'a' does not fit"),
        ({"epsilon": [0.1, 0.2]}, "epsilon: .* does not fit"),
        ({"model": "alexnet"}, "model: str is no torch.nn.Module"),
        ({"model": nn.Flatten}, r"model: Flatten is a class; give .* Flatten\(\)"),
        ({"name": None}, "attack: there is no None"),
    ],
)
def test_attack_refuses_what_is_of_another_kind_and_says_what_to_give(wrong, sentence, images, labels):
    given = {"model": perceptron(), "images": images, "labels": labels, **wrong}
    with pytest.raises(ValueError, match=sentence) as refusal:
        attack(**given)
    assert isinstance(refusal.value, PsiError)


def test_epsilon_and_the_size_of_a_step_may_be_written_as_for_a_run(images, labels):
    expected = attack(perceptron(), images, labels, "bim", 8 / 255, step_size=None)
    assert torch.equal(attack(perceptron(), images, labels, "bim", "8/255", step_size="auto"), expected)
    assert torch.equal(fgsm(perceptron(), images, labels, "0.1"), fgsm(perceptron(), images, labels, 0.1))


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


@pytest.mark.parametrize("name", ATTACK_NAMES)
def test_no_images_are_an_empty_batch(name, images, labels):
    assert attack(perceptron(), images[:0], labels[:0], name, 0.1, restarts=2).shape == (0, 1, 8, 8)


@pytest.mark.parametrize("name", ATTACK_NAMES)
def test_every_attack_leaves_a_module_as_it_was(name, images, labels):
    model = moody()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()
    with torch.inference_mode():
        attacked = attack(model, images.clone(), labels, name, 0.1, steps=3)
    assert not attacked.requires_grad
    assert not attacked.is_inference()
    assert not torch.equal(attacked, images)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model[6].bias.grad, torch.ones(3))
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["0.weight"]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"name": "pdg"}, "pgd"),
        ({"steps": 0}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"restarts": 0}, "restarts"),
        ({"step_size": 0.0}, "step_size"),
        ({"step_size": 5.0}, "step_size"),
        ({"step_size": float("nan")}, "step_size"),
        ({"seed": -1}, "seed"),
    ],
)
def test_attack_refuses_what_cannot_stand(options, word, images, labels):
    with pytest.raises(ValueError, match=word) as refusal:
        attack(perceptron(), images, labels, **options)
    assert isinstance(refusal.value, PsiError)


def test_a_model_may_change_its_input_in_place(images, labels):
    class Scales(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = perceptron()

        def forward(self, inputs):
            return self.network(inputs.mul_(2).sub_(1))

    model, before = Scales(), images.clone()
    for name in ("fgsm", "bim"):
        attacked = attack(model, images, labels, name, 0.1)
        assert 0 < (attacked - images).abs().max() <= 0.1 + 1e-6
    assert torch.equal(images, before)


class OfTwo(nn.Module):
    """One number for two classes, or their logits 0 and z."""

    def __init__(self, give):
        super().__init__()
        self.network = perceptron(1)
        self.give = give

    def forward(self, inputs):
        return self.give(self.network(inputs))


ONE_NUMBER = {
    "a logit": lambda z: z,
    "a flat logit": lambda z: z[:, 0],
    "a sigmoid": torch.sigmoid,
    "a flat sigmoid in place": lambda z: z.flatten().sigmoid_(),
    "named": lambda z: {"logits": z},
}


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
@pytest.mark.parametrize("give", ONE_NUMBER)
def test_one_number_for_two_classes_is_attacked_as_both(give, name, images):
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    plain = OfTwo(lambda z: torch.cat([torch.zeros_like(z), z], 1))
    expected = attack(plain, images, labels, name, 0.1)
    assert torch.equal(attack(OfTwo(ONE_NUMBER[give]), images, labels, name, 0.1), expected)
    with torch.no_grad():
        towards = (plain(expected) - plain(images))[:, 1] * (1 - 2 * labels)
    assert (towards >= 0).all()
    assert (towards > 0).sum() >= 4
