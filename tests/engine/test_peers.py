"""FGSM against its peers: torchattacks and foolbox give the very same images.

Their answers lie in `peers.npz`, so that the comparison runs without them. It was recorded with torchattacks 3.5.1 and
foolbox 3.3.4 by `python -m tests.engine.test_peers`, which needs `pip install -e '.[peers]'`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from psi_core.engine import fgsm
from psi_core.engine.datasets import load_dataset, network_inputs
from psi_core.engine.models import build_classifier, model_source
from tests.engine.networks import perceptron, seeded

RECORD = Path(__file__).with_name("peers.npz")
EPSILONS = (0.03, 8 / 255, 0.1)
PEERS = ("torchattacks", "foolbox")


def digits(size):
    dataset = load_dataset("mnist", "test")
    return network_inputs(torch.tensor(dataset.images[:8]), size, 1), torch.tensor(dataset.labels[:8])


def attack_of(peer, model, images, labels, epsilon):
    if peer == "torchattacks":
        return pytest.importorskip("torchattacks").FGSM(model, eps=epsilon)(images, labels)
    foolbox = pytest.importorskip("foolbox")
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return foolbox.attacks.LinfFastGradientAttack(random_start=False)(bounded, images, labels, epsilons=epsilon)[1]


# foolbox 3.3.4 imports a part of scipy by its old name.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("peer", PEERS)
def test_fgsm_equals_its_peer(peer, epsilon):
    model = seeded(lambda: build_classifier(model_source("lenet5"), 10, "0.1307/0.3081"))
    images, labels = digits(28)
    expected = attack_of(peer, model, images, labels, epsilon)
    assert torch.equal(fgsm(model, images, labels, epsilon), expected)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("peer", PEERS)
def test_fgsm_equals_the_peers_recorded_answer(peer, epsilon):
    with np.load(RECORD) as arrays:
        tensors = {name: torch.tensor(arrays[name]) for name in arrays.files}
    model = perceptron(10)
    model.load_state_dict({name: tensors[f"weights/{name}"] for name in model.state_dict()})
    attacked = fgsm(model, tensors["images"], tensors["labels"], epsilon)
    assert torch.equal(attacked, tensors[f"{peer}@{epsilon}"])


def record():
    """Writes the peers' answers to eight digits of 8 x 8 pixels, and all that is needed to repeat them."""
    model = perceptron(10).eval()
    images, labels = digits(8)
    answers = {f"{p}@{e}": attack_of(p, model, images, labels, e).numpy() for p in PEERS for e in EPSILONS}
    weights = {f"weights/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    np.savez_compressed(RECORD, images=images.numpy(), labels=labels.numpy(), **weights, **answers)


if __name__ == "__main__":
    record()
