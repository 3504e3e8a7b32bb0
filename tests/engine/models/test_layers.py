"""Layers: what the dry forward sees, its names and costs, and what a run may choose of it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from psi_core.engine.models.layers import describe_layers, select_calls, trace_network
from psi_core.engine.models.sources import model_source
from psi_core.errors import ModelError
from tests.engine.models.test_modes import Bomb, require_same, state_of
from tests.engine.networks import Functional, perceptron, seeded

CONVOLUTIONS = [(3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3)]
"""Of AlexNet: channels in, channels out, edge of the kernel."""


@pytest.fixture(scope="module")
def alexnet():
    with torch.device("meta"):
        network = model_source("alexnet").build(10)
    return trace_network(network, 3, 224)


@pytest.fixture(scope="module")
def functional():
    return trace_network(seeded(Functional), 1, 8)


def names_of(calls):
    return [call.name for call in calls]


def relus_of(name, channels, size):
    with torch.device("meta"):
        network = model_source(name).build(10)
    return select_calls(trace_network(network, channels, size), ["relu"], "none", name)


def test_layers_are_named_as_the_study_names_them(alexnet):
    convolutions = [f"conv{number}" for number in range(1, 9)]
    assert names_of(select_calls(alexnet, ["relu"], "none", "alexnet")) == [*convolutions[:5], "fc1", "fc2"]
    assert names_of(relus_of("vgg11", 3, 32)) == [*convolutions, "fc1", "fc2"]
    assert names_of(relus_of("lenet5", 1, 28)) == ["conv1", "conv2", "fc1", "fc2"]


def test_layers_of_other_networks_have_the_path_of_their_module(functional):
    calls = select_calls(functional, ["relu"], "none", "functional")
    assert names_of(calls) == ["relu", "shared", "block.relu", "shared#2", "relu#2", "relu#3"]
    assert [call.owner for call in calls] == ["", "shared", "block", "shared", "", ""]
    assert [call.kind for call in calls] == ["relu", "ReLU", "relu", "ReLU", "relu", "relu"]
    assert [call.shape for call in calls] == [*4 * [(4, 8, 8)], (4,), (4,)]


def test_alexnets_layers_cost_what_hand_counting_gives(alexnet):
    layers = describe_layers(select_calls(alexnet, ["relu"], "none", "alexnet"), "neuron")
    parameters = [channels * features * edge**2 + features for channels, features, edge in CONVOLUTIONS]
    parameters += [9216 * 4096 + 4096, 4096 * 4096 + 4096]
    edges = [55, 27, 13, 13, 13]
    positions = [edge**2 * features for edge, (_, features, _) in zip(edges, CONVOLUTIONS, strict=True)]
    products = [place * channels * edge**2 for place, (channels, _, edge) in zip(positions, CONVOLUTIONS, strict=True)]
    assert parameters[0] == 23_296
    assert [layer.parameters for layer in layers] == parameters
    assert [layer.multiply_adds for layer in layers] == [*products, 9216 * 4096, 4096 * 4096]
    assert [layer.units for layer in layers] == [*positions, 4096, 4096]
    assert [layer.channels for layer in layers] == [64, 192, 384, 256, 256, 4096, 4096]
    # The head has no ReLU behind it, and so no row of its own.
    assert alexnet.multiply_adds == 710_133_440 == sum(layer.multiply_adds for layer in layers) + 4096 * 10
    assert alexnet.calls[-1].parameters == 57_044_810 == sum(parameters) + 4096 * 10 + 10


def test_a_unit_may_be_a_channel(alexnet):
    layers = describe_layers(select_calls(alexnet, ["conv2"], "none", "alexnet"), "channel")
    assert [(layer.units, layer.channels, layer.shape) for layer in layers] == [(192, 192, (192, 27, 27))]


def test_parameters_used_twice_count_once_and_their_work_twice():
    shared = nn.Linear(64, 64)
    trace = trace_network(nn.Sequential(nn.Flatten(), shared, nn.ReLU(), shared, nn.ReLU()), 1, 8)
    assert (trace.calls[-1].parameters, trace.multiply_adds) == (64 * 64 + 64, 2 * 64 * 64)


def test_convolutions_in_groups_cost_their_share():
    trace = trace_network(nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Flatten()), 4, 8)
    assert trace.multiply_adds == 8 * 6 * 6 * 2 * 9


def test_activation_bytes_are_those_of_all_leaves():
    assert trace_network(perceptron(), 1, 8).activation_bytes == 4 * (64 + 12 + 12 + 6 + 6 + 3)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["conv2"], ["conv2"]),
        (["fc1", "conv1"], ["conv1", "fc1"]),
        (["conv*"], ["conv1", "conv2", "conv3", "conv4", "conv5"]),
        (["conv[45]", "fc?"], ["conv4", "conv5", "fc1", "fc2"]),
        (["features.4"], ["conv2"]),
        (["features.1", "conv1"], ["conv1"]),
        (["relu"], ["conv1", "conv2", "conv3", "conv4", "conv5", "fc1", "fc2"]),
    ],
)
def test_layers_are_chosen_by_name_glob_path_or_kind_and_come_in_forward_order(alexnet, wanted, found):
    assert names_of(select_calls(alexnet, wanted, "none", "alexnet")) == found


def test_a_second_call_is_chosen_by_its_own_name(functional):
    assert names_of(select_calls(functional, ["shared#2"], "none", "functional")) == ["shared#2"]
    assert names_of(select_calls(functional, ["shared*"], "none", "functional")) == ["shared", "shared#2"]


def test_all_takes_every_leaf(alexnet):
    calls = select_calls(alexnet, ["all"], "abs", "alexnet")
    assert names_of(calls)[:4] == ["features.0", "conv1", "features.2", "features.3"]
    assert {"features", "classifier", ""}.isdisjoint(names_of(calls))
    assert len(calls) == 13 + 1 + 7


@pytest.mark.parametrize("layer", ["features.0", "features.2", "classifier.6"])
def test_signed_layers_need_a_rectification(alexnet, layer):
    with pytest.raises(ModelError, match=f"{layer}.*--rectify relu or --rectify abs"):
        select_calls(alexnet, [layer], "none", "alexnet")
    assert names_of(select_calls(alexnet, [layer], "relu", "alexnet")) == [layer]


def test_an_unknown_name_is_answered_with_the_nearest(alexnet):
    with pytest.raises(ModelError, match="there is no 'covn3'; did you mean 'conv3'"):
        select_calls(alexnet, ["conv1", "covn3"], "none", "alexnet")
    with pytest.raises(ModelError, match=r"layers: there is no 'pool\*'"):
        select_calls(alexnet, ["pool*"], "none", "alexnet")


def test_a_network_without_relu_is_answered_with_the_option_that_helps():
    trace = trace_network(nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Tanh()), 1, 8)
    with pytest.raises(ModelError, match=r"calls no ReLU.*--rectify abs"):
        select_calls(trace, ["relu"], "none", "mine.py:net")


def test_a_layer_without_an_image_axis_is_refused():
    class Total(nn.Module):
        def forward(self, features):
            return features.sum(1)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.total = Total()

        def forward(self, images):
            return F.relu(images.flatten(1) + self.total(images.flatten(1))[:, None])

    trace = trace_network(Network(), 1, 8)
    with pytest.raises(ModelError, match="total does not give a row of responses per image"):
        select_calls(trace, ["total"], "abs", "mine.py:net")


@pytest.mark.parametrize(
    ("layer", "found"),
    [(nn.RNN(8, 3), "tuple"), (nn.Identity(), r"\(2, 8, 8\)"), (nn.Flatten(0, 1), r"\(16, 8\)")],
)
def test_an_output_that_is_no_logits_is_refused(layer, found):
    with pytest.raises(ModelError, match=f"its output is {found} for 2 images, not logits"):
        trace_network(nn.Sequential(nn.Flatten(1, 2), layer), 1, 8)


class Picky(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, images):
        raise self.error


@pytest.mark.parametrize(
    "error", [RuntimeError("too\nsmall"), ValueError("too"), AssertionError("too"), TypeError("too"), IndexError("too")]
)
def test_an_input_that_the_network_cannot_take_is_refused(error):
    kind = type(error).__name__
    with pytest.raises(ModelError, match=rf"^model: its forward fails for 3 x 5 x 5 pixels \({kind}: too.* line \d+\)"):
        trace_network(Picky(error), 3, 5)


def test_the_dry_forward_leaves_no_trace():
    model = seeded(Functional).train()
    before = state_of(model)
    trace_network(model, 1, 8)
    require_same(state_of(model), before)
    failing = nn.Sequential(model, Bomb())
    with pytest.raises(ModelError):
        trace_network(failing, 1, 8)
    require_same(state_of(failing[0]), before)


def test_owners_are_the_modules_that_call_activations(functional):
    assert functional.owners == {"", "shared", "block"}
