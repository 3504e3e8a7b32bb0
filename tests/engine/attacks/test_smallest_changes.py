"""Attacks that look for the smallest change: measured at the distance that they find, beside within epsilon."""

import inspect
import math

import numpy as np
import pytest
import torch
from torch import nn

from psi_core.conditions import MINIMUM_NORM, Condition
from psi_core.config import RunConfig
from psi_core.engine import analyze
from psi_core.engine.attacks import foolbox as door
from psi_core.engine.attacks.attacks import Iteration
from psi_core.engine.attacks.foolbox import FoolboxAttack, require_foolbox_attack
from psi_core.engine.attacks.gradients import change_norms
from psi_core.engine.attacks.noise import Noise
from psi_core.engine.preparation import prepare
from psi_core.errors import ConfigError, ModelError
from psi_core.files import PACKAGE_DATA
from psi_core.runs.finding import load_run
from psi_core.tables.registry import TABLE_NAMES, table_rows
from psi_core.tables.summary import headline_condition
from tests.engine.networks import images_of, seeded
from tests.engine.processes import small_config

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Of foolbox, for a part of scipy's old name.
foolbox = pytest.importorskip("foolbox")
base = foolbox.attacks.base
NOISE = Noise(0, torch.arange(6), 1)


@pytest.fixture(scope="module")
def model():
    built = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3)))
    return built.eval().requires_grad_(False)


def labels_of(model):
    return model(images_of(6)).argmax(1)


def attack_of(name, model, labels=None):
    return FoolboxAttack(name, model, images_of(6), labels_of(model) if labels is None else labels, Iteration())


def test_the_light_half_knows_which_attacks_these_are():
    known = {name for name, each in door._attack_classes().items() if issubclass(each, base.MinimizationAttack)}
    assert {f"foolbox:{name}" for name in known} == MINIMUM_NORM


@pytest.mark.parametrize("name", ["DatasetAttack", "BinarizationRefinementAttack", "PointwiseAttack", "GenAttack"])
def test_attacks_that_need_more_than_images_are_not_offered(name):
    with pytest.raises(ConfigError, match=f"there is no 'foolbox:{name}'"):
        require_foolbox_attack(name)


def test_they_come_once_without_epsilon_and_then_within_each():
    config = RunConfig(attack="fgsm,foolbox:L2DeepFoolAttack", epsilon="0.1,8/255", controls="sign-noise")
    names = [condition.name for condition in config.conditions]
    free = names.index("foolbox:L2DeepFoolAttack")
    assert names[free : free + 3] == [
        "foolbox:L2DeepFoolAttack",
        "foolbox:L2DeepFoolAttack@0.1",
        "foolbox:L2DeepFoolAttack@8/255",
    ]
    condition = Condition.of_name("foolbox:L2DeepFoolAttack")
    assert math.isnan(condition.epsilon)
    assert not condition.has_epsilon
    assert config.conditions[free].control is None
    with_options = RunConfig(attack="foolbox:L2CarliniWagnerAttack:steps=5", epsilon=[0.1], controls="none").conditions
    assert [each.name for each in with_options[1:]] == [
        "foolbox:L2CarliniWagnerAttack:steps=5",
        "foolbox:L2CarliniWagnerAttack:steps=5@0.1",
    ]
    fixed = RunConfig(attack="foolbox:LinfPGD", epsilon=[0.1], controls="none").conditions
    assert [each.name for each in fixed] == ["benign", "foolbox:LinfPGD@0.1"]


@pytest.mark.parametrize(
    "name",
    [
        *("L2DeepFoolAttack", "LinfDeepFoolAttack", "L2CarliniWagnerAttack:steps=60:initial_const=1.0"),
        *(
            "EADAttack:steps=60:initial_const=1.0",
            "L2FMNAttack:steps=40",
            "LInfFMNAttack:steps=40",
            "DDNAttack:steps=30",
        ),
        *("BoundaryAttack:steps=60", "L0FMNAttack:steps=60", "NewtonFoolAttack"),
    ],
)
def test_the_smallest_change_is_foolboxs_own(name, model):
    attack = attack_of(name, model)
    found = attack.smallest(NOISE)
    fooled = model(found).argmax(1) != labels_of(model)
    assert torch.equal(fooled, ~attack.failed)
    assert fooled.sum() >= 5
    linf, l2 = change_norms(found, images_of(6))
    assert (l2[fooled] > 0).all()
    within = attack.within(0.02, NOISE)
    near, near_l2 = change_norms(within, images_of(6))
    assert (near <= 0.02 + 1e-6).all() if attack._norm == "linf" else (near_l2 <= 0.02 * 8 * (1 + 1e-5)).all()
    assert (near <= linf + 1e-6).all()


def test_deepfool_finds_the_nearest_boundary_of_a_linear_network():
    """Exact: the distance of an image from the plane between two classes."""
    weights = torch.tensor([[3.0, 4.0] + 62 * [0.0], 64 * [0.0]])
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval().requires_grad_(False)
    linear[1].weight.data, linear[1].bias.data = weights, torch.tensor([-3.0, 0.0])
    images = torch.full((2, 1, 8, 8), 0.5)
    attack = FoolboxAttack("L2DeepFoolAttack:overshoot=0.0001", linear, images, torch.tensor([0, 0]), Iteration())
    assert change_norms(attack.smallest(NOISE), images)[1].tolist() == pytest.approx(2 * [0.5 / 5], rel=2e-3)


def planted(run):
    class Planted(base.MinimizationAttack):
        distance = foolbox.distances.l2

        def __init__(self):
            pass

        def run(self, model, inputs, criterion, *, early_stop=None, **kwargs):
            return run(inputs, criterion)

    return Planted


def fails_on_bright(inputs, criterion):
    bright = inputs.raw.mean((1, 2, 3)) > images_of(6).mean((1, 2, 3)).median()
    if bool(bright.any()):
        raise ValueError(f"init_attack failed for {int(bright.sum())} of {len(inputs)} inputs")
    return 1 - inputs


def test_an_image_that_an_attack_fails_on_is_marked_and_the_others_stand(model, monkeypatch):
    assert inspect.isclass(planted(fails_on_bright))
    monkeypatch.setattr(door, "_attack_classes", lambda: {"Planted": planted(fails_on_bright)})
    attack = attack_of("Planted", model)
    found = attack.smallest(NOISE)
    assert 0 < attack.failed.sum() < 6
    assert torch.equal(found[attack.failed], images_of(6)[attack.failed])
    assert (model(found).argmax(1) != labels_of(model))[~attack.failed].all()


@pytest.mark.parametrize(("spoiled", "is_end"), [(1, False), (6, True)], ids=["one image", "every image"])
def test_pixels_that_are_no_numbers_spoil_their_own_image_alone(spoiled, is_end, model, monkeypatch):
    first = images_of(6)[:spoiled].flatten(1).sum(1)

    def run(inputs, criterion):
        is_spoiled = torch.isin(inputs.raw.flatten(1).sum(1), first).view(-1, 1, 1, 1)
        return foolbox.models.base.ep.astensor(torch.where(is_spoiled, torch.nan, 1 - inputs.raw))

    monkeypatch.setattr(door, "_attack_classes", lambda: {"Planted": planted(run)})
    attack = attack_of("Planted", model)
    if is_end:
        with pytest.raises(ModelError, match="are no numbers"):
            attack.smallest(NOISE)
    else:
        attack.smallest(NOISE)
        assert attack.failed[0]
        assert not attack.failed[1:].all()


OPTIONS = {
    "images": 20,
    "epsilon": "8/255",
    "weights": str(PACKAGE_DATA / "lenet5.safetensors"),
    "controls": "sign-noise",
}


def test_a_run_measures_both_forms_and_every_table_stands(tmp_path):
    run = analyze(small_config(attack="foolbox:L2DeepFoolAttack", **OPTIONS), tmp_path)
    free, within = run.conditions.index("foolbox:L2DeepFoolAttack"), 2
    assert run.conditions[within] == "foolbox:L2DeepFoolAttack@8/255"
    right = run.predictions[0] == run.labels
    assert (run.predictions[free] != run.labels)[right].mean() > 0.9
    l2 = run.array("l2")
    assert (l2[free] > 0).sum() >= right.sum() - 1
    assert (l2[within] <= np.minimum(l2[free], 28 * 8 / 255) + 1e-4).all()
    rows = {row["condition"]: row for row in table_rows(run, "conditions")}
    assert rows[run.conditions[free]]["epsilon"] is None
    assert rows[run.conditions[free]]["l2_mean"] == pytest.approx(l2[free].astype(float).mean())
    assert headline_condition(run) == "foolbox:L2DeepFoolAttack@8/255"
    for name in TABLE_NAMES:
        assert table_rows(run, name), name
    norms = next(row for row in table_rows(run, "evidence") if row["check"] == "norms")
    assert norms["status"] == "green"
    again = load_run(str(run.directory))
    assert again.conditions == run.conditions


def test_failed_images_have_no_norms_in_a_run_and_count_in_no_mean(tmp_path, monkeypatch):
    def run_attack(inputs, criterion):
        if len(inputs) > 1 or float(inputs.raw.sum()) > 100:
            raise ValueError("init_attack failed for 1 of 1 inputs")
        return 1 - inputs

    monkeypatch.setattr(door, "_attack_classes", lambda: {"EADAttack": planted(run_attack)})
    run = analyze(small_config(attack="foolbox:EADAttack", **OPTIONS), tmp_path)
    failed = np.isnan(run.array("l2")[1])
    assert 0 < failed.sum() < 20
    assert np.array_equal(run.predictions[1][failed], run.predictions[0][failed])
    row = table_rows(run, "conditions")[1]
    assert row["l2_mean"] == pytest.approx(float(run.array("l2")[1][~failed].astype(float).mean()))
    assert [
        each["l2"] is None for each in table_rows(run, "images") if each["condition"] == "foolbox:EADAttack"
    ] == failed.tolist()
    for name in TABLE_NAMES:
        table_rows(run, name)


def test_runs_of_older_versions_have_no_condition_of_their_own():
    config = prepare(small_config(attack="foolbox:L2DeepFoolAttack", **OPTIONS)).config
    older = config.model_copy(update={"own_distances": False})
    assert [each.name for each in older.conditions[1:]] == ["foolbox:L2DeepFoolAttack@8/255", "sign-noise@8/255"]
    assert older.asked().conditions == config.asked().conditions
