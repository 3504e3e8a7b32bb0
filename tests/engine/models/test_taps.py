"""Taps: every activation once, in order, by its name; gone when the block ends, however it ends."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from psi_core.engine.models.activations import NONNEGATIVE
from psi_core.engine.models.taps import Taps
from tests.engine.networks import FUNCTIONAL_CALLS, Functional, images_of, perceptron, seeded


def calls_of(network, images, **options):
    """Names, kinds and copies of the outputs of every call in one forward."""
    calls = []
    with torch.no_grad(), Taps(network, lambda *call: calls.append((*call[:2], call[2].clone())), **options):
        network(images)
    return calls


def names_of(network, images, **options):
    return [name for name, _, _ in calls_of(network, images, **options)]


@pytest.mark.parametrize(
    ("name", "size", "options", "count", "modules"),
    [
        ("alexnet", 64, {}, 7, 7),
        ("vgg11", 32, {}, 10, 10),
        ("resnet18", 32, {}, 17, 9),
        ("densenet121", 32, {}, 121, 120),
        ("googlenet", 32, {"aux_logits": False, "init_weights": False}, 57, 0),
        ("inception_v3", 75, {"aux_logits": False, "init_weights": False}, 94, 0),
    ],
)
def test_every_relu_of_a_network_is_seen_once(name, size, options, count, modules):
    with torch.device("meta"):
        network = torchvision.models.get_model(name, num_classes=10, **options).eval()
    assert sum(isinstance(module, nn.ReLU) for module in network.modules()) == modules
    calls = calls_of(network, torch.zeros(1, 3, size, size, device="meta"))
    assert {kind for _, kind, _ in calls} == {"relu"}
    assert len({call for call, _, _ in calls}) == len(calls) == count


def test_calls_have_the_path_of_their_module_and_a_number_from_the_second_on():
    assert names_of(seeded(Functional), images_of(2)) == FUNCTIONAL_CALLS


def test_names_begin_anew_with_every_forward():
    network, names = seeded(Functional), []
    with torch.no_grad(), Taps(network, lambda name, _kind, _output: names.append(name)):
        network(images_of(2))
        network(images_of(3))
    assert names == 2 * FUNCTIONAL_CALLS


def test_functional_relus_of_googlenet_bear_the_name_of_their_block():
    network = torchvision.models.get_model("googlenet", aux_logits=False, init_weights=False).eval()
    names = names_of(network, torch.zeros(1, 3, 32, 32))
    assert names[:3] == ["conv1.relu", "conv2.relu", "conv3.relu"]
    assert "inception4a.branch1.relu" in names
    assert "inception3a.branch2.1.relu" in names


def test_outputs_are_seen_before_an_in_place_activation_overwrites_them():
    network = seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Sigmoid(), nn.Hardtanh()))
    images = images_of(2)
    signed = F.conv2d(images, network[0].weight, network[0].bias)
    calls = calls_of(network, images, with_modules=True)
    assert [(name, kind) for name, kind, _ in calls] == [
        ("0", "module"), ("1", "relu"), ("2", "sigmoid"), ("3", "hardtanh"),
    ]  # fmt: skip
    for (_, _, output), expected in zip(
        calls, [signed, signed.relu(), signed.relu().sigmoid(), signed.relu().sigmoid()], strict=True
    ):
        assert torch.equal(output, expected)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (F.relu, "relu"),
        (lambda x: F.relu(x, inplace=True), "relu"),
        (F.relu_, "relu"),
        (torch.relu, "relu"),
        (lambda x: x.relu(), "relu"),
        (lambda x: x.clone().relu_(), "relu"),
        (nn.ReLU(), "relu"),
        (F.relu6, "relu6"),
        (nn.ReLU6(inplace=True), "relu6"),
        (lambda x: F.hardtanh(x, 0, 6), "relu6"),
        (lambda x: F.hardtanh(x, min_val=0.0, max_val=1.0), "relu6"),
        (torch.sigmoid, "sigmoid"),
        (nn.Sigmoid(), "sigmoid"),
        (F.hardsigmoid, "hardsigmoid"),
        (nn.Hardsigmoid(), "hardsigmoid"),
        (lambda x: F.softmax(x, 1), "softmax"),
        (lambda x: x.softmax(1), "softmax"),
        (nn.Softmax(1), "softmax"),
        (F.softplus, "softplus"),
        (lambda x: x.clamp(min=0), "clamp"),
        (lambda x: torch.clip(x, 0.0, 6.0), "clamp"),
        (nn.Threshold(0, 0), "threshold"),
        (lambda x: torch.maximum(x, x.new_zeros(())), "maximum"),
        (nn.Softplus(), "softplus"),
    ],
)
def test_every_way_of_writing_an_activation_is_one_call(call, kind):
    class Network(nn.Module):
        def forward(self, images):
            return call(images.flatten(1) - 0.5)

    network = Network()
    network.act = call if isinstance(call, nn.Module) else None
    ((name, found, output),) = calls_of(network, images_of(2))
    assert found == kind
    assert name == ("act" if isinstance(call, nn.Module) else kind)
    assert output.min() >= 0


@pytest.mark.parametrize("call", [F.hardtanh, F.gelu, F.leaky_relu, F.silu, torch.tanh, F.elu])
def test_signed_activations_are_received_under_their_own_names(call):
    class Network(nn.Module):
        def forward(self, images):
            return call(images.flatten(1) - 0.5)

    ((name, kind, _),) = calls_of(Network(), images_of(2))
    assert name == kind == call.__name__
    assert kind not in NONNEGATIVE


def test_activations_outside_the_network_are_not_its_own():
    network = perceptron()
    names = []
    with torch.no_grad(), Taps(network, lambda name, _kind, _output: names.append(name)):
        torch.relu(network(images_of(2)))
    assert names == ["2", "4"]


def test_what_the_receiver_computes_is_not_taken_for_a_call():
    network, calls = seeded(Functional), []
    with torch.no_grad(), Taps(network, lambda name, _k, out: calls.append((name, out.relu())), with_modules=True):
        network(images_of(2))
    names = [name for name, _ in calls]
    assert len(set(names)) == len(names)
    assert [name for name in names if "relu" in name or "shared" in name] == FUNCTIONAL_CALLS


def test_watching_fewer_modules_gives_the_same_names():
    network = seeded(Functional)
    assert names_of(network, images_of(2), owners={"", "shared", "block"}) == FUNCTIONAL_CALLS
    assert names_of(network, images_of(2), owners={"shared"}) == ["shared", "shared#2"]


def test_no_call_has_the_name_of_another_modules():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()
            self.add_module("relu#2", nn.ReLU())
            self.add_module("relu#4", nn.ReLU())

        def forward(self, images):
            for name in ("relu", "relu", "relu#2", "relu", "relu#4", "relu#2"):
                images = getattr(self, name)(images) - 0.1
            return images

    assert names_of(Twice(), images_of(2)) == ["relu", "relu#3", "relu#2", "relu#5", "relu#4", "relu#2#2"]


@pytest.mark.parametrize("owners", [None, {"", "0", "1"}])
def test_a_module_that_gives_a_tuple_is_passed_over(owners):
    class Pair(nn.Module):
        def forward(self, images):
            return F.relu(images), images

    class First(nn.Module):
        def forward(self, pair):
            return pair[0]

    network = nn.Sequential(Pair(), First())
    assert names_of(network, images_of(2), owners=owners, with_modules=True) == ["0.relu", "1"]


class Bomb(nn.Module):
    def forward(self, features):
        raise RuntimeError("forward failed")


def hooks_of(network):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_hooks_and_mode_are_gone_when_the_block_ends():
    network = seeded(Functional)
    with Taps(network, lambda *call: None, with_modules=True):
        assert hooks_of(network) > 0
        assert torch.overrides._get_current_function_mode() is not None
    assert hooks_of(network) == 0
    assert torch.overrides._get_current_function_mode() is None


@pytest.mark.parametrize("by", ["forward", "receiver"])
def test_hooks_and_mode_are_gone_after_an_exception(by):
    network = nn.Sequential(perceptron(), Bomb() if by == "forward" else nn.Identity())

    def receive(*call):
        if by == "receiver":
            raise RuntimeError("receiver failed")

    with pytest.raises(RuntimeError, match=f"{by} failed"), Taps(network, receive):
        network(images_of(2))
    assert hooks_of(network) == 0
    assert torch.overrides._get_current_function_mode() is None


def test_a_forward_after_one_that_failed_has_its_right_names():
    network = nn.Sequential(nn.ReLU(), Bomb(), nn.ReLU())
    names = []
    with Taps(network, lambda name, _kind, _output: names.append(name)):
        with pytest.raises(RuntimeError, match="forward failed"):
            network(images_of(2))
        network[1].forward = lambda features: features
        torch.relu(network(images_of(2)))
    assert names == ["0", "0", "2"]
