"""Attacks against their peers: torchattacks and foolbox give the same images where their definitions are ours.

Their answers lie in `peers.npz`, so that the comparison runs without them. It was recorded with torchattacks 3.5.1 and
foolbox 3.3.4 by `python -m tests.engine.attacks.test_peers`, which needs `pip install -e '.[peers]'`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from psi_core.engine import attack, fgsm
from psi_core.engine.images import load_dataset, network_inputs
from psi_core.engine.models.sources import build_classifier, model_source
from tests.engine.networks import perceptron, seeded

RECORD = Path(__file__).with_name("peers.npz")
EPSILONS = (0.03, 8 / 255, 0.1)
STEPS, SHARE = 5, 0.25
PEERS = {
    ("fgsm", "torchattacks"): lambda library, model, epsilon: library.FGSM(model, eps=epsilon),
    ("bim", "torchattacks"): lambda library, model, epsilon: library.BIM(
        model, eps=epsilon, alpha=SHARE * epsilon, steps=STEPS
    ),
    ("mi-fgsm", "torchattacks"): lambda library, model, epsilon: library.MIFGSM(
        model, eps=epsilon, alpha=SHARE * epsilon, steps=STEPS
    ),
    ("fgsm", "foolbox"): lambda attacks: attacks.LinfFastGradientAttack(random_start=False),
    ("fgm-l2", "foolbox"): lambda attacks: attacks.L2FastGradientAttack(random_start=False),
    ("bim", "foolbox"): lambda attacks: attacks.LinfBasicIterativeAttack(
        steps=STEPS, rel_stepsize=SHARE, random_start=False
    ),
}
"""By attack and library; torchattacks' PGD without a random start is its BIM, and so is ours."""

both = pytest.mark.parametrize(("name", "peer"), PEERS, ids=[" of ".join(each) for each in PEERS])


def digits(size):
    dataset = load_dataset("mnist", "test")
    return network_inputs(torch.tensor(dataset.images[:8]), size, 1), torch.tensor(dataset.labels[:8])


def answer_of(name, peer, model, images, labels, epsilon):
    if peer == "torchattacks":
        return PEERS[name, peer](pytest.importorskip("torchattacks"), model, epsilon)(images, labels)
    foolbox = pytest.importorskip("foolbox")
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    radius = epsilon * images[0].numel() ** 0.5 if name == "fgm-l2" else epsilon
    return PEERS[name, peer](foolbox.attacks)(bounded, images, labels, epsilons=radius)[1]


def require_equal(name, model, images, labels, epsilon, expected):
    attacked = attack(model, images, labels, name, epsilon, steps=STEPS, step_size=SHARE)
    if name == "fgsm":
        assert torch.equal(attacked, expected)
        assert torch.equal(fgsm(model, images, labels, epsilon), expected)
    else:
        torch.testing.assert_close(attacked, expected, atol=1e-6, rtol=0)


# foolbox 3.3.4 imports a part of scipy by its old name.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("epsilon", EPSILONS)
@both
def test_an_attack_equals_its_peer(name, peer, epsilon):
    model = seeded(lambda: build_classifier(model_source("lenet5"), 10, "0.1307/0.3081"))
    images, labels = digits(28)
    require_equal(name, model, images, labels, epsilon, answer_of(name, peer, model, images, labels, epsilon))


@pytest.mark.parametrize("epsilon", EPSILONS)
@both
def test_an_attack_equals_the_peers_recorded_answer(name, peer, epsilon):
    with np.load(RECORD) as arrays:
        tensors = {key: torch.tensor(arrays[key]) for key in arrays.files}
    model = perceptron(10)
    model.load_state_dict({key: tensors[f"weights/{key}"] for key in model.state_dict()})
    require_equal(name, model, tensors["images"], tensors["labels"], epsilon, tensors[f"{peer}/{name}@{epsilon}"])


def record():
    """Writes the peers' answers to eight digits of 8 x 8 pixels, and all that is needed to repeat them."""
    model = perceptron(10).eval()
    images, labels = digits(8)
    answers = {
        f"{peer}/{name}@{epsilon}": answer_of(name, peer, model, images, labels, epsilon).numpy()
        for name, peer in PEERS
        for epsilon in EPSILONS
    }
    weights = {f"weights/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    np.savez_compressed(RECORD, images=images.numpy(), labels=labels.numpy(), **weights, **answers)


if __name__ == "__main__":
    record()
