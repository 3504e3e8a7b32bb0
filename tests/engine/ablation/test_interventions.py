"""Masked forwards: as if the other channels had been zeroed by hand, and the network left as it was."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from psi_core.engine.ablation.masking import masked_logits
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.layers import select_calls, trace_network
from psi_core.engine.models.sources import build_classifier, input_channels, model_source
from psi_core.errors import ModelError
from tests.engine.models.test_taps import hooks_of
from tests.engine.networks import FUNCTIONAL_CALLS, Fickle, Functional, images_of, seeded


def small(network):
    return Classifier(network, (0.5,), (0.25,)).eval().requires_grad_(False)


def layer_of(model, name, size=8):
    """A call by its name, and the owners that every masked forward needs."""
    trace = trace_network(model.network, input_channels(model.network), size)
    (call,) = select_calls(trace, [f"={name}"], "abs", "model")
    return call, trace.owners


def masked(model, name, images, keep, size=8):
    with torch.inference_mode():
        return masked_logits(model, *layer_of(model, name, size), images, keep)


def random_keep(images, channels, seed=1):
    return torch.rand(images, channels, generator=torch.Generator().manual_seed(seed)) < 0.5


def convolutions():
    """As AlexNet: in-place ReLUs behind convolutions, pooling, a flat head."""
    return seeded(
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 6, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(6, 8, 2), nn.ReLU(inplace=True)),
            *(nn.Flatten(), nn.Linear(8 * 4, 12), nn.ReLU(inplace=True), nn.Linear(12, 3)),
        )
    )


@pytest.mark.parametrize(("name", "filters"), [("1", 0), ("4", 3), ("7", 6)])
def test_a_masked_forward_is_that_of_a_network_with_the_other_filters_zeroed(name, filters):
    model, images = small(convolutions()), images_of(3)
    keep = random_keep(1, model.network[filters].out_channels if filters < 6 else 12)
    found = masked(model, name, images, keep.expand(3, -1))
    for parameter in (model.network[filters].weight, model.network[filters].bias):
        parameter[~keep[0]] = 0
    assert torch.equal(found, model(images))


def by_hand(network, images, masked_call, keep):
    """The forward of Functional, with one of its calls masked where it stands."""
    names = iter(FUNCTIONAL_CALLS)

    def act(features):
        active = F.relu(features)
        return active * keep.reshape(*keep.shape, *(1,) * (active.dim() - 2)) if next(names) == masked_call else active

    features = act(network.conv2(act(network.conv1(images))))
    features = features + act(network.block.conv(features))
    features = act(act(features - 0.05).mean((2, 3)))
    return network.head(act(features))


@pytest.mark.parametrize("name", FUNCTIONAL_CALLS)
def test_each_image_has_its_own_mask_in_functions_methods_and_modules_used_twice(name):
    model, images, keep = small(seeded(Functional)), images_of(5), random_keep(5, 4)
    expected = by_hand(model.network, (images - 0.5) / 0.25, name, keep)
    assert not torch.equal(expected, model(images))
    assert torch.equal(masked(model, name, images, keep), expected)


class ReadThroughItsArgument(nn.Module):
    """Activations in place whose return value nobody looks at."""

    def __init__(self, activate):
        super().__init__()
        self.conv, self.head, self.activate = nn.Conv2d(1, 4, 3), nn.Linear(4, 3), activate

    def forward(self, images):
        features = self.conv(images)
        self.activate(features)
        return self.head(features.mean((2, 3)))


@pytest.mark.parametrize(
    "activate",
    [F.relu_, torch.Tensor.relu_, lambda x: F.relu(input=x, inplace=True), nn.ReLU(inplace=True)],
    ids=["F.relu_", "Tensor.relu_", "F.relu", "nn.ReLU"],
)
def test_what_is_activated_in_place_is_masked_in_place(activate):
    model, images, keep = small(seeded(lambda: ReadThroughItsArgument(activate))), images_of(2), random_keep(2, 4)
    network = model.network
    active = F.relu(network.conv((images - 0.5) / 0.25)) * keep[:, :, None, None]
    name = "activate" if isinstance(activate, nn.Module) else "relu"
    assert torch.equal(masked(model, name, images, keep), network.head(active.mean((2, 3))))


class Branched(nn.Module):
    """A layer that gives its very input, which is read beside it too."""

    def __init__(self):
        super().__init__()
        self.conv, self.same, self.head = nn.Conv2d(1, 4, 3), nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, images):
        features = self.conv(images)
        return self.head(torch.cat([self.same(features), features], 1).mean((2, 3)))


def test_a_layer_that_is_no_activation_is_masked_and_what_it_shares_is_not():
    model, images, keep = small(seeded(Branched)), images_of(2), random_keep(2, 4)
    features = model.network.conv((images - 0.5) / 0.25)
    both = torch.cat([features * keep[:, :, None, None], features], 1)
    assert torch.equal(masked(model, "same", images, keep), model.network.head(both.mean((2, 3))))


@pytest.mark.parametrize(
    ("name", "size", "layer"), [("alexnet", 64, "conv3"), ("torchvision:resnet18", 64, "layer1.0.relu#2")]
)
def test_a_mask_that_keeps_all_changes_no_bit(name, size, layer):
    model = seeded(lambda: build_classifier(model_source(name), 10, "imagenet"))
    images = images_of(3, 3, size).contiguous(memory_format=torch.channels_last)
    call, owners = layer_of(model, layer, size)
    with torch.inference_mode():
        kept = masked_logits(model, call, owners, images, torch.ones(3, call.shape[0], dtype=torch.bool))
        none = masked_logits(model, call, owners, images, torch.zeros(3, call.shape[0], dtype=torch.bool))
        assert torch.equal(kept, model(images))
    assert not torch.equal(none, kept)


def test_an_infinite_response_is_set_to_zero_too():
    model, images = small(convolutions()), images_of(2)
    model.network[0].bias[2] = torch.inf
    keep = torch.ones(2, 6, dtype=torch.bool)
    assert not masked(model, "1", images, keep).isfinite().any()
    keep[:, 2] = False
    assert masked(model, "1", images, keep).isfinite().all()


def test_a_layer_that_does_not_fire_once_is_refused():
    model = small(Fickle("fewer"))
    call, owners = layer_of(model, "second")
    with pytest.raises(ModelError, match="second fired 0 times"):
        masked_logits(model, call, owners, images_of(2), torch.ones(2, 128, dtype=torch.bool))
    assert hooks_of(model) == 0


@pytest.mark.parametrize("by", ["forward", "shape"])
def test_hooks_and_mode_are_gone_after_an_exception(by):
    model, keep = small(convolutions()), torch.ones(2, 6, dtype=torch.bool)
    call, owners = layer_of(model, "1")
    if by == "forward":
        model.network[8].forward = lambda features: 1 / 0
    images = images_of(2, size=8 if by == "forward" else 9)
    with pytest.raises(ZeroDivisionError if by == "forward" else ModelError):
        masked_logits(model, call, owners, images, keep)
    assert hooks_of(model) == 0
    assert torch.overrides._get_current_function_mode() is None
