"""Models: by name, normalization inside, wrong names and sizes refused with the way out."""

from contextlib import ExitStack

import pytest
import torch
import torch._dynamo
from torch import nn

from psi_core.config import RunConfig
from psi_core.engine.models.classifier import uncompiled
from psi_core.engine.models.sources import (
    IMAGENET_MEAN_SD,
    build_classifier,
    input_channels,
    is_named_by_study,
    model_source,
    resolved_normalization,
)
from psi_core.engine.preparation import prepare
from psi_core.errors import ModelError
from tests.engine.networks import images_of, seeded


@pytest.mark.parametrize(
    ("name", "channels", "size", "normalize"),
    [("lenet5", 1, 28, "0.1307/0.3081"), ("alexnet", 3, 224, "imagenet"), ("vgg11", 3, 224, "imagenet")],
)
def test_bundled_models_say_what_they_take(name, channels, size, normalize):
    source = model_source(name)
    assert source.input_size(None) == size
    assert source.normalization == resolved_normalization(source, RunConfig(model=name)) == normalize
    assert resolved_normalization(source, RunConfig(model=name, normalize="none")) == "none"
    with torch.device("meta"):
        network = source.build(10)
    assert input_channels(network) == channels
    assert is_named_by_study(network)
    assert network(torch.zeros(1, channels, size, size, device="meta")).shape == (1, 10)


@pytest.mark.parametrize(("name", "size"), [("torchvision:resnet18", 224), ("torchvision:inception_v3", 299)])
def test_any_torchvision_model_is_one_line(name, size):
    source = model_source(name)
    assert source.input_size(None) == size
    with torch.device("meta"):
        network = source.build(7).eval()
    assert network(torch.zeros(1, 3, size, size, device="meta")).shape == (1, 7)
    assert not is_named_by_study(network)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("alexnett", "there is no 'alexnett'; did you mean 'alexnet'"),
        ("torchvision:resnet81", "did you mean 'torchvision:resnet18'"),
        ("no.such.place:net", "no.such.place cannot be imported"),
        (":net", "'' names no module; write package.module:factory or file.py:factory"),
        (".relative:net", "'.relative' names no module"),
        ("missing.py:net", "there is no file .*missing.py; write file.py:factory"),
    ],
)
def test_a_misspelt_model_is_refused(name, text):
    with pytest.raises(ModelError, match=text):
        model_source(name)


@pytest.mark.parametrize(
    ("name", "size", "text"),
    [
        ("alexnet", 62, "needs at least 63 pixels, not 62"),
        ("vgg11", 31, "needs at least 32 pixels, not 31"),
        ("lenet5", 27, "needs at least 28 pixels"),
        ("lenet5", 29, "takes at most 28 pixels"),
    ],
)
def test_a_size_that_the_network_cannot_take_is_refused(name, size, text):
    with pytest.raises(ModelError, match=f"size: {name} {text}"):
        model_source(name).input_size(size)


@pytest.mark.parametrize(("name", "size"), [("alexnet", 63), ("vgg11", 32)])
def test_the_smallest_size_reaches_the_last_layer(name, size):
    source = model_source(name)
    assert source.input_size(size) == size
    with torch.device("meta"):
        assert source.build(10)(torch.zeros(1, 3, size, size, device="meta")).shape == (1, 10)


def test_normalization_is_inside_the_model():
    source, images = model_source("lenet5"), images_of(2, size=28)
    plain = seeded(lambda: build_classifier(source, 10, "none"))
    normalized = seeded(lambda: build_classifier(source, 10, "0.1307/0.3081"))
    assert torch.equal(plain(images), plain.network(images))
    assert torch.equal(normalized(images), plain.network((images - 0.1307) / 0.3081))
    assert not torch.equal(normalized(images), plain(images))


def test_imagenets_normalization_is_per_channel():
    classifier = seeded(lambda: build_classifier(model_source("torchvision:resnet18"), 10, "imagenet"))
    images = images_of(1, 3, 32)
    mean, sd = (torch.tensor(values).view(1, 3, 1, 1) for values in IMAGENET_MEAN_SD)
    torch.testing.assert_close(classifier(images), classifier.network((images - mean) / sd))


def test_a_normalization_of_other_channels_is_refused():
    with pytest.raises(ModelError, match="normalize: imagenet has 3 channels and lenet5 takes 1"):
        build_classifier(model_source("lenet5"), 10, "imagenet")


def test_a_classifier_comes_in_eval_mode_frozen_and_channels_last():
    classifier = prepare(RunConfig(model="alexnet", weights="random", size=64)).classifier
    assert not any(module.training for module in classifier.modules())
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    assert classifier.network.features[3].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("layers", "channels"),
    [
        ([nn.Conv2d(4, 1, 1)], 4),
        ([nn.Flatten(), nn.Linear(64, 3)], 1),
        ([nn.Flatten(), nn.Linear(28 * 28, 3)], 1),
        ([nn.Flatten(), nn.Linear(3 * 32 * 32, 3)], 3),
        ([nn.Identity()], 3),
    ],
)
def test_input_channels_are_those_of_the_first_layer(layers, channels):
    assert input_channels(nn.Sequential(*layers)) == channels


def test_input_channels_are_those_that_the_network_names():
    network = nn.Sequential(nn.Unfold(4, stride=4), nn.Conv1d(32, 4, 1))
    network.input_size = (2, 8, 8)
    assert input_channels(network) == 2


def test_threads_that_leave_a_network_in_any_order_leave_the_compiler_as_it_was():
    def stance():
        return torch._dynamo.eval_frame._stance.stance

    before = stance()
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(uncompiled())
        second.enter_context(uncompiled())
        assert stance() == "force_eager"
        first.close()
        assert stance() == "force_eager"
    assert stance() == before == "default"
