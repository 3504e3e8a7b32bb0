"""Weights in bfloat16 are converted once; every bit is the one that autocast alone gives."""

import contextlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from psi_core.devices import CPU
from psi_core.engine.bf16_weights import Bf16Weights
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.precision import precision


class Functional(nn.Module):
    """Products by functions, a head that normalizes its weight, and a part without autocast."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.middle = nn.Linear(144, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, images):
        features = F.linear(
            F.conv2d(images, weight=self.kernel).flatten(1), bias=self.middle.bias, weight=self.middle.weight
        )
        with torch.autocast("cpu", enabled=False):
            features = features.float() + self.middle(torch.ones(len(images), 144))
        return F.linear(F.normalize(features), F.normalize(self.head.weight))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.biased = nn.MultiheadAttention(12, 3, batch_first=True, add_bias_kv=True)
        self.head = nn.Linear(12, 5)

    def forward(self, images):
        tokens = images.flatten(2)[:, :, :60].reshape(len(images), 15, 12)
        for layer in (self.attention, self.biased):
            tokens = tokens + layer(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(tokens.mean(1))


NETWORKS = {
    "modules": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, padding="same"), nn.ReLU(), nn.Flatten(), nn.Linear(384, 5)),
    "one dimension": lambda: nn.Sequential(
        nn.Flatten(2), nn.Conv1d(3, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(240, 5)
    ),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.Flatten(), nn.Linear(400, 5)),
    "functions": Functional,
    "attention": Attention,
}


@pytest.fixture(params=NETWORKS)
def classifier(request):
    torch.manual_seed(0)
    return Classifier(NETWORKS[request.param](), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)).eval().requires_grad_(False)


IMAGES = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Conversions(TorchDispatchMode):
    """The shapes of what is converted to bfloat16."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default and (kwargs or {}).get("dtype") == torch.bfloat16:
            self.shapes.append(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))


def logits_and_gradient(model):
    inputs = IMAGES.clone().requires_grad_()
    logits = model(inputs)
    return logits.detach(), *torch.autograd.grad(logits.float().logsumexp(1).sum(), inputs)


@contextlib.contextmanager
def by_autocast_alone(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Bf16Weights, "in_use", lambda self, device: contextlib.nullcontext())
        yield


def test_every_bit_is_autocasts_own(classifier, monkeypatch):
    with precision("bf16", CPU):
        with by_autocast_alone(monkeypatch):
            expected = logits_and_gradient(classifier)
        with torch.inference_mode():
            first = classifier(IMAGES)  # What is kept from here must serve a gradient too.
        found = logits_and_gradient(classifier)
    assert torch.equal(first, expected[0])
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert found[0].dtype == expected[0].dtype


def test_no_weight_of_a_product_is_converted_twice(monkeypatch):
    torch.manual_seed(0)
    weights = {(6, 3, 3, 3), (5, 384), (36, 12), (12, 12), (5, 12)}
    for name in ("modules", "attention"):
        classifier = Classifier(NETWORKS[name](), (0.0,) * 3, (1.0,) * 3).eval().requires_grad_(False)
        if name == "attention":
            classifier.network.biased = classifier.network.attention  # With biases of keys torch converts by itself.
        with precision("bf16", CPU), torch.no_grad():
            with by_autocast_alone(monkeypatch), Conversions() as usual:
                classifier(IMAGES)
            classifier(IMAGES)
            with Conversions() as seen:
                classifier(IMAGES)
        assert weights.intersection(usual.shapes)
        assert not weights.intersection(seen.shapes)


def test_weights_that_change_are_converted_again(classifier, monkeypatch):
    changed = next(parameter for parameter in classifier.parameters() if parameter.dim() > 1)
    with precision("bf16", CPU):
        classifier(IMAGES)
        with torch.no_grad():
            changed.mul_(-2)
        with by_autocast_alone(monkeypatch):
            in_place = classifier(IMAGES)
        assert torch.equal(classifier(IMAGES), in_place)
        changed.data = changed.data.roll(1, 0)
        with by_autocast_alone(monkeypatch):
            replaced = classifier(IMAGES)
        assert torch.equal(classifier(IMAGES), replaced)
    assert not torch.equal(in_place, replaced)


def test_weights_in_training_and_other_precisions_are_left_alone(classifier):
    exact = classifier(IMAGES)
    with precision("bf16", CPU):
        classifier(IMAGES)
    assert torch.equal(classifier(IMAGES), exact)
    classifier.requires_grad_(True)
    with precision("bf16", CPU):
        logits = classifier(IMAGES)
        logits.float().sum().backward()
    trained = [each for name, each in classifier.named_parameters() if name.endswith(("0.weight", "middle.weight"))]
    assert all(each.grad is not None and each.grad.dtype == torch.float32 for each in trained)
