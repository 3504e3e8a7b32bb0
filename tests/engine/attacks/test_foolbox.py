"""Foolbox's attacks: run as they are, believed in nothing."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from psi_core.conditions import BENIGN, Condition
from psi_core.config import RunConfig
from psi_core.engine import analyze
from psi_core.engine.attacks import foolbox as door
from psi_core.engine.attacks.attacks import Iteration
from psi_core.engine.attacks.foolbox import FoolboxAttack, require_foolbox_attack
from psi_core.engine.attacks.gradients import change_norms
from psi_core.engine.attacks.noise import Noise
from psi_core.engine.attacks.perturbations import Perturbations
from psi_core.errors import ConfigError, ModelError
from tests.engine.networks import images_of, seeded

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Of foolbox, for a part of scipy's old name.
foolbox = pytest.importorskip("foolbox")

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
NUMBA = importlib.util.find_spec("numba") is not None
NOISE = Noise(0, torch.arange(6), 1)


@pytest.fixture(scope="module")
def model():
    built = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3)))
    return built.eval().requires_grad_(False)


def attack_of(name, model, **iteration):
    return FoolboxAttack(name, model, images_of(6), LABELS, Iteration(**iteration))


@pytest.mark.parametrize("name", ["LinfDeepFoolAttack", "LinfFastGradientAttack", "InversionAttack"])
def test_changes_stay_within_epsilon_in_the_largest_pixel(name, model):
    changed = attack_of(name, model).within(0.05, NOISE)
    assert (change_norms(changed, images_of(6))[0] <= 0.05 + 1e-6).all()
    assert 0 <= changed.min() <= changed.max() <= 1


@pytest.mark.parametrize("name", ["L2DeepFoolAttack", "L2CarliniWagnerAttack:steps=20:binary_search_steps=2"])
def test_changes_stay_within_the_length_of_an_fgsm_step(name, model):
    changed = attack_of(name, model).within(0.05, NOISE)
    assert (change_norms(changed, images_of(6))[1] <= 0.05 * 8 * (1 + 1e-5)).all()


@pytest.mark.parametrize("name", ["LinfFastGradientAttack", "L2FastGradientAttack"])
def test_a_change_within_epsilon_stays_as_it_is(name, model):
    attack, images = attack_of(name, model), images_of(6)
    near = images + 0.01 * (0.5 - images)
    torch.testing.assert_close(attack._shortened(near, 1.0), near)


def test_the_smallest_change_is_sought_once_for_all_epsilons(model, monkeypatch):
    labels = model(images_of(6)).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    attack = FoolboxAttack("LinfDeepFoolAttack", model, images_of(6), labels, Iteration())
    small, large = attack.within(0.01, NOISE), attack.within(1.0, NOISE)
    monkeypatch.setattr(attack, "_attack", None)
    assert torch.equal(attack.within(0.01, NOISE), small)
    assert (model(large).argmax(1) != labels).all()
    assert torch.equal(large[0], images_of(6)[0])
    assert (change_norms(large, images_of(6))[0][1:] > 0).all()


def test_random_attacks_repeat_themselves_and_leave_the_random_state(model):
    state = torch.get_rng_state()
    one, two = (attack_of("LinfAdditiveUniformNoiseAttack", model).within(0.1, NOISE) for _ in range(2))
    other = attack_of("LinfAdditiveUniformNoiseAttack", model).within(0.1, Noise(1, NOISE.indices, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_targets_are_what_it_aims_at(model):
    targets = (LABELS + 1) % 3
    attack = FoolboxAttack(
        "L2CarliniWagnerAttack:steps=100:binary_search_steps=3:initial_const=1.0",
        model,
        images_of(6),
        targets,
        Iteration(is_targeted=True),
    )
    reached, before = (model(images).argmax(1) == targets for images in (attack.within(1.0, NOISE), images_of(6)))
    assert reached.sum() >= before.sum() + 2


def planted(answer):
    class Planted(foolbox.attacks.base.FixedEpsilonAttack):
        distance = foolbox.distances.linf

        def run(self, model, inputs, criterion, *, epsilon, **kwargs):
            return answer(inputs)

    return Planted


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (lambda images: images * 3, "outside 0..1"),
        (lambda images: images * float("nan"), "are no numbers"),
        (lambda images: images - 0.5, "outside 0..1"),
    ],
)
def test_what_is_no_image_is_refused(answer, word, model, monkeypatch):
    monkeypatch.setattr(door, "_attack_classes", lambda: {"Planted": planted(answer)})
    with pytest.raises(ModelError, match=f"foolbox:Planted gave pixels {word}|that {word}"):
        attack_of("Planted", model).within(0.1, NOISE)


def test_images_of_another_shape_are_refused(model):
    with pytest.raises(ModelError, match=r"gave \(6, 64\) for"):
        attack_of("LinfFastGradientAttack", model)._checked(torch.zeros(6, 64), images_of(6))


def test_a_failure_of_its_own_is_one_sentence(model):
    with pytest.raises(ModelError, match="foolbox:LinfDeepFoolAttack:candidates=1 failed"):
        attack_of("LinfDeepFoolAttack:candidates=1", model).within(0.1, NOISE)


def test_what_goes_too_far_is_brought_back(model, monkeypatch):
    monkeypatch.setattr(door, "_attack_classes", lambda: {"Planted": planted(lambda images: images * 0 + 1)})
    changed = attack_of("Planted", model).within(0.1, NOISE)
    torch.testing.assert_close(changed, (images_of(6) + 0.1).clamp(max=1))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *([] if NUMBA else [("L2BrendelBethgeAttack", "needs more than foolbox")]),
        ("LinfDeepFool", "did you mean 'foolbox:LinfDeepFoolAttack'?"),
        ("LinfDeepFoolAttack:stepps=3", "did you mean 'steps'?"),
        ("LinfDeepFoolAttack:steps=many", "write a whole number of at least 1, steps=..."),
        ("LinfPGD:steps=1.5", "write a whole number of at least 1"),
        ("LinfPGD:steps=-1", "write a whole number of at least 1"),
        ("LinfPGD:random_start='a/b'", "write True or False"),
        ("LinfPGD:rel_stepsize=True", "write a number"),
        ("L1FastGradientAttack", "measures neither L2 nor L-infinity"),
    ],
)
def test_names_and_options_that_do_not_fit_are_refused(name, words):
    with pytest.raises(ConfigError) as refusal:
        require_foolbox_attack(name)
    assert words in str(refusal.value)


def test_without_foolbox_the_way_to_it_is_told():
    code = (
        "import sys; sys.modules['foolbox'] = None\n"
        "from psi_core.engine.attacks.foolbox import require_foolbox_attack\n"
        "require_foolbox_attack('LinfDeepFoolAttack')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'psi-tui[attacks]'" in ended.stderr.splitlines()[-1]


def test_it_runs_beside_our_own(own_folders):
    name = "foolbox:LinfDeepFoolAttack:steps=10"
    config = RunConfig(attack=f"fgsm,{name}", epsilon="0,0.3", controls="gaussian", images=12, chunk=8, batch=5)
    run = analyze(config)
    assert run.conditions == ["benign", "fgsm@0", "fgsm@0.3", name, f"{name}@0", f"{name}@0.3", "gaussian@0.3"]
    assert np.array_equal(run.psi[4], run.psi[0])
    assert np.nanmax(run.array("linf")[5]) <= 0.3 + 1e-6
    correct = run.predictions == run.labels
    assert correct[5].mean() < correct[0].mean()


def test_a_batch_without_it_is_not_charged_for_it(model):
    perturbations = Perturbations((Condition(BENIGN), Condition("foolbox:LinfDeepFoolAttack", 0.1)))
    inputs = images_of(6).requires_grad_()
    perturbed = perturbations.begin_batch(model, inputs, model(inputs), LABELS, torch.arange(6))
    assert torch.equal(perturbed.images_under(Condition("foolbox:LinfDeepFoolAttack", 0.0)), inputs)
    assert not perturbed._foolbox
