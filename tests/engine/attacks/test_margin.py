"""The margin: signs that float64 confirms however sure the network is, and cross-entropy where an older run says so."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

from psi_core.conditions import ATTACK_NAMES
from psi_core.engine import analyze, attack, fgsm
from psi_core.engine.attacks.gradients import input_gradient, losses
from psi_core.engine.images import load_dataset, network_inputs
from psi_core.engine.models.sources import build_classifier, model_source
from psi_core.engine.models.weights import apply_weights, read_weights
from psi_core.engine.work.worker import Worker
from psi_core.files import PACKAGE_DATA
from psi_core.runs.chunks import SEAL
from psi_core.runs.run import Run
from tests.engine.processes import small_config
from tests.recorded import make_older

IMAGES = 100
FACTORS = (1e-3, 1.0, 5.0, 20.0, 1e3)


class Scaled(nn.Module):
    """A network with all logits times a number: the same classifier, more or less sure of itself."""

    def __init__(self, network, factor):
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, images):
        return self.factor * self.network(images)


@pytest.fixture(scope="module")
def lenet():
    """LeNet-5 with the weights of the package: sure of most digits by more than float32 can tell from 1."""
    source = model_source("lenet5")
    classifier = build_classifier(source, 10, source.normalization)
    path = PACKAGE_DATA / "lenet5.safetensors"
    apply_weights(classifier.network, read_weights(path, classifier.network)[0], str(path))
    return classifier.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def digits():
    """Digits and labels, the digits a little off black and white: equal pixels tie in max pooling."""
    dataset = load_dataset("mnist", "test")
    images = network_inputs(torch.tensor(dataset.images[:IMAGES]), 28, 1)
    pull = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    return images + (1 - 2 * images) * 0.05 * pull, torch.tensor(dataset.labels[:IMAGES])


def signs_met(network, images, labels, loss):
    """Share of the signs that are those of the margin in float64, where that gradient is not next to 0."""
    exact = input_gradient(copy.deepcopy(network).double(), images.double(), labels)[1]
    matters = exact.abs() > 1e-6 * exact.abs().flatten(1).amax(1).view(-1, 1, 1, 1)
    own = input_gradient(network, images, labels, loss)[1]
    return float((own.sign() == exact.sign())[matters].double().mean())


@pytest.mark.parametrize("factor", FACTORS)
def test_signs_are_those_of_float64_however_sure_the_network_is(lenet, digits, factor):
    assert signs_met(Scaled(lenet, factor), *digits, "margin") >= 0.999


def test_the_cross_entropy_loses_them(lenet, digits):
    assert signs_met(lenet, *digits, "cross-entropy") < 0.95
    assert signs_met(Scaled(lenet, 20), *digits, "cross-entropy") < 0.1


@pytest.mark.parametrize("name", ATTACK_NAMES)
def test_a_power_of_two_on_two_logits_changes_no_attack_at_all(name):
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.rand(6, 1, 4, 4, generator=generator), torch.tensor([0, 1] * 3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    plain, sure = (attack(Scaled(network, factor), images, labels, name, 0.1) for factor in (1.0, 2.0**20))
    assert torch.equal(plain, sure)


def test_the_same_classifier_is_fooled_alike_however_sure_it_is(lenet, digits):
    images, labels = digits
    fooled = []
    for factor in (1.0, 5.0, 20.0):
        network = Scaled(lenet, factor)
        fooled.append(int((network(fgsm(network, images, labels, 0.1)).argmax(1) != labels).sum()))
    assert max(fooled) - min(fooled) <= 2
    assert min(fooled) >= 15


@pytest.mark.parametrize("scale", [1e-20, 1.0, 30.0])
def test_cross_entropy_is_softplus_of_the_margin(scale):
    logits = scale * torch.randn(50, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(50) % 7
    lead = losses(logits, labels)
    assert lead.dtype == torch.float64
    expected = losses(logits, labels, "cross-entropy")
    torch.testing.assert_close(nn.functional.softplus(lead, threshold=700), expected, rtol=1e-12, atol=1e-14)


def arrays(directory, number):
    with np.load(directory / "chunks" / f"{number:05}.npz") as chunk:
        return {name: chunk[name] for name in chunk.files if name != SEAL}


def test_a_run_that_says_nothing_of_its_loss_goes_on_with_the_cross_entropy(tmp_path):
    asked = {"images": 20, "chunk": 10, "attack": "fgsm,bim", "weights": "fitted"}
    older = analyze(small_config(**asked, loss="cross-entropy"), tmp_path)
    newer = analyze(small_config(**asked), tmp_path)
    expected = arrays(older.directory, 1)
    assert any(not np.array_equal(expected[name], values) for name, values in arrays(newer.directory, 1).items())

    make_older(older.directory)
    (older.directory / "model.json").unlink()
    path = older.directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    assert config.pop("loss") == "cross-entropy"
    path.write_text(json.dumps(config), encoding="utf-8")
    (older.directory / "chunks" / "00001.npz").unlink()
    assert Run(older.directory).config.loss == "cross-entropy"
    Worker(older.directory).work()
    for name, values in arrays(older.directory, 1).items():
        np.testing.assert_array_equal(values, expected[name])
