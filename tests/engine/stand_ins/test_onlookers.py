"""Networks that others look into: ensembles by vmap, checkpoints, gradients of gradients. Torch's own serves them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from psi_core.engine.measure.reducer import Reducer
from psi_core.engine.stand_ins import first_convolution, onlookers, pooling, standing_in

IMAGES = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(3))
MEMBERS = torch.randn(3, 8, 1, 5, 5, generator=torch.Generator().manual_seed(4))


def ensemble(images):
    """Three networks at once, by vmap over their weights."""

    def member(weight):
        return F.max_pool2d(torch.conv2d(images, weight).relu(), 2).flatten(1).sum(1)

    return torch.func.vmap(member)(MEMBERS).mean(0)


class Checkpointed(nn.Module):
    """Computes its first half again when the gradient comes back."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2)).requires_grad_(False)

    def forward(self, images):
        return checkpoint(self.first, images, use_reentrant=False).flatten(1).sum(1)


def gradient_of(network, images):
    given = images.clone().requires_grad_()
    return torch.autograd.grad(network(given).square().sum(), given)[0]


@pytest.mark.parametrize("network", [ensemble, Checkpointed()], ids=["vmap", "checkpoint"])
def test_they_get_torchs_gradient_bit_for_bit(network):
    expected = gradient_of(network, IMAGES)
    with standing_in(IMAGES.device):
        found = gradient_of(network, IMAGES)
    assert torch.equal(found, expected)


def test_an_ensemble_without_a_gradient_gets_torchs_numbers():
    with torch.inference_mode(), standing_in(IMAGES.device):
        assert torch.equal(ensemble(IMAGES), ensemble(IMAGES.clone()))
    values = torch.randn(3, 2, 4, 6, 6)
    relu = torch.func.vmap(lambda each: Reducer().relu(each))
    assert torch.equal(relu(values), values.relu())


def test_a_network_may_take_a_gradient_of_its_own():
    weight = MEMBERS[0]

    def through(convolve):
        images = IMAGES.clone().requires_grad_()
        (inner,) = torch.autograd.grad(convolve(images, weight).square().sum(), images, create_graph=True)
        return torch.autograd.grad(inner.square().sum(), images)[0]

    found, expected = through(first_convolution.conv2d), through(torch.conv2d)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_where_torch_does_not_tell_somebody_may_look_on(monkeypatch):
    assert not onlookers.is_transformed()
    assert not onlookers.keeps_otherwise()
    monkeypatch.setattr(onlookers, "_HOOKS", lambda _: True)
    assert onlookers.keeps_otherwise()
    monkeypatch.setattr(onlookers, "_TRANSFORMS", lambda: True)
    assert onlookers.is_transformed()
    images = IMAGES.clone().requires_grad_()
    assert type(first_convolution.conv2d(images, MEMBERS[0]).grad_fn).__name__ == "ConvolutionBackward0"
    asked = []
    monkeypatch.setattr(pooling, "_USUAL", lambda *given: asked.append(1) or F.max_pool2d(*given))
    pooling.max_pool2d(torch.rand(2, 4, 8, 8), 2)
    assert asked
