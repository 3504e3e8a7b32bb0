"""SparsenessMeter: equal to measuring clones of every activation, for any module."""

import contextlib
import gc
import weakref
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from psi_core.engine import SparsenessMeter, population_sparseness
from psi_core.engine.models.taps import Taps
from psi_core.errors import ConfigError, ModelError, PsiError
from tests.engine.models.test_modes import require_same, state_of
from tests.engine.networks import FUNCTIONAL_CALLS, Ensemble, Functional, images_of, perceptron, seeded


def clones_of(network, images):
    """Every activation of one forward, stored."""
    kept = {}
    with torch.no_grad(), Taps(network, lambda name, _kind, output: kept.update({name: output.clone()})):
        network(images)
    return kept


def stored_functional(network, images):
    """The same activations of `Functional`, computed line by line."""
    kept = [F.relu(network.conv1(images))]
    kept.append(F.relu(network.conv2(kept[0])))
    kept.append(F.relu(network.block.conv(kept[1])))
    kept.append(F.relu(kept[1] + kept[2] - 0.05))
    kept.append(F.relu(kept[3].mean((2, 3))))
    kept.append(kept[4])
    return dict(zip(FUNCTIONAL_CALLS, kept, strict=True))


def require_psi_of(meter, kept):
    assert list(meter.psi) == list(kept)
    for layer, output in kept.items():
        expected = population_sparseness(output.flatten(1))
        torch.testing.assert_close(meter.psi[layer], expected, atol=1e-6, rtol=0, equal_nan=True)
        assert meter.psi[layer].dtype == torch.float64


def test_psi_of_resnet18_equals_that_of_its_stored_activations():
    network = seeded(lambda: torchvision.models.resnet18(num_classes=10)).eval()
    images = images_of(4, 3, 64)
    with torch.no_grad(), SparsenessMeter(network) as meter:
        network(images)
    assert len(meter.psi) == 17
    assert list(meter.psi)[:4] == ["relu", "layer1.0.relu", "layer1.0.relu#2", "layer1.1.relu"]
    require_psi_of(meter, clones_of(network, images))


def test_psi_of_a_functional_network_equals_that_of_its_stored_activations():
    network = seeded(Functional)
    with SparsenessMeter(network) as meter:
        network(images_of(5))
    with torch.no_grad():
        require_psi_of(meter, stored_functional(network, images_of(5)))


def test_several_calls_are_joined():
    network, images = seeded(Functional), images_of(7)
    with torch.no_grad(), SparsenessMeter(network) as whole:
        network(images)
    with torch.no_grad(), SparsenessMeter(network) as meter:
        for part in images.split([3, 1, 3]):
            network(part)
    for layer, psi in whole.psi.items():
        assert meter.psi[layer].shape == (7,)
        torch.testing.assert_close(meter.psi[layer], psi, atol=1e-6, rtol=0, equal_nan=True)


@pytest.mark.parametrize("channels", [2, 100])  # Fewer units than a block of the sums, and more.
@pytest.mark.parametrize("measure", ["psi", "kurtosis", "gini", "entropy"])
def test_no_image_has_no_value(channels, measure):
    network = nn.Sequential(nn.Conv2d(1, channels, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * channels, 3), nn.ReLU())
    with SparsenessMeter(network, measures=[measure]) as meter:
        network(torch.rand(0, 1, 4, 4))
    assert {layer: len(values) for layer, values in meter.measure(measure).items()} == {"1": 0, "4": 0}


def test_other_measures():
    network = perceptron()
    with torch.no_grad(), SparsenessMeter(network) as meter:
        network(images_of(3))
    output = clones_of(network, images_of(3))["2"]
    assert torch.equal(meter.measure("active_fraction")["2"], (output > 0).double().mean(1))
    torch.testing.assert_close(meter.measure("mean_response")["2"], output.double().mean(1))
    with pytest.raises(ConfigError, match="did you mean 'active_fraction'"):
        meter.measure("active_fractions")


@pytest.mark.parametrize("layers", [["1", "4"], ("1", "4"), "1,4"])
def test_other_layers_by_path(layers):
    network = perceptron()
    with torch.no_grad(), SparsenessMeter(network, layers, rectify="abs") as meter:
        network(images_of(3))
    assert list(meter.psi) == ["1", "4"]
    signed = F.linear(images_of(3).flatten(1), network[1].weight, network[1].bias)
    torch.testing.assert_close(meter.psi["1"], population_sparseness(signed.abs()), atol=1e-6, rtol=0)


def test_layers_of_a_functional_network_keep_their_names_beside_rectified_ones():
    network = seeded(Functional)
    with torch.no_grad(), SparsenessMeter(network, ["conv1", "relu"], rectify="relu") as meter:
        network(images_of(3))
    assert set(meter.psi) == {"conv1", "relu"}
    torch.testing.assert_close(meter.psi["conv1"], meter.psi["relu"])


def test_channels_as_units():
    network, images = seeded(Functional), images_of(3)
    with torch.no_grad(), SparsenessMeter(network, unit="channel") as meter:
        network(images)
    means = clones_of(network, images)["shared"].mean((2, 3))
    torch.testing.assert_close(meter.psi["shared"], population_sparseness(means), atol=1e-6, rtol=0)


def test_a_layer_that_never_ran_is_answered_with_the_nearest():
    network = perceptron()
    with torch.no_grad(), SparsenessMeter(network, ["4", "44"]) as meter:
        assert meter.psi == {}
        network(images_of(3))
    with pytest.raises(ModelError, match="layers: there is no '44'; did you mean '4'"):
        _ = meter.psi


def test_signed_layers_need_a_rectification():
    network = perceptron()
    with pytest.raises(ModelError, match="responds below 0"), SparsenessMeter(network, ["1"]):
        network(images_of(3))
    require_no_hooks(network)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("unit", "neurons", "did you mean 'neuron'"),
        ("unit", None, "unit: there is no None"),
        ("rectify", "ReLU6", "did you mean 'relu'"),
        ("rectify", ["relu"], "did you mean 'relu'"),
        ("measures", "kurtosos", "did you mean 'kurtosis'"),
        ("measures", None, "measures: None does not fit; write a list"),
        ("layers", [], "layers: the list is empty"),
        ("model", "alexnet", "model: str is no torch.nn.Module"),
        ("model", nn.ReLU, "model: ReLU is a class"),
    ],
)
def test_unknown_options_are_refused(option, value, sentence):
    with pytest.raises(ValueError, match=sentence) as refusal:
        SparsenessMeter(**{"model": perceptron(), option: value})
    assert isinstance(refusal.value, PsiError)


class Gated(nn.Module):
    """A ReLU and a GELU."""

    def forward(self, images):
        return F.gelu(F.relu(images.flatten(1)))


class Pixelwise(nn.Module):
    """A ReLU with a row per pixel, and one with a row per image."""

    def forward(self, images):
        return F.relu(F.relu(images.reshape(-1, 1)).reshape(len(images), -1))


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (Gated(), r"measured 1 of 2 activations: 1 GELU left out \(layers=\[NAMES\], rectify='relu'\)"),
        (Pixelwise(), "measured 1 of 2 activations: 1 ReLU of windows or patches left out"),
        (seeded(lambda: Ensemble(3)), "measured 1 of 2 activations: 1 ReLU in scripted code, under torch.func"),
    ],
)
def test_activations_left_out_are_told_when_the_block_ends(network, sentence):
    warned = pytest.warns(UserWarning, match=f"layers: {sentence}")
    with warned as told, torch.no_grad(), SparsenessMeter(network) as meter:
        network(images_of(2))
        network(images_of(3))
    assert [Path(each.filename).name for each in told] == [Path(__file__).name]
    assert [len(values) for values in meter.psi.values()] == [5]


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (nn.Sequential(nn.Flatten(), nn.GELU()), r"the module calls no ReLU, but 1; give names as layers=\[...\]"),
        (nn.Sequential(nn.Flatten(0, 1), nn.ReLU()), r"no ReLU .* a row for each image \(1 gives others, of \(8, 8\)"),
        (nn.Flatten(), "the module calls no ReLU; give names"),
    ],
)
def test_a_module_of_which_nothing_is_measured_is_refused(network, sentence):
    with torch.no_grad(), SparsenessMeter(network) as meter:
        assert meter.psi == {}  # Nothing ran yet.
        network(torch.rand(3, 2, 8, 8))
    with pytest.raises(ModelError, match=sentence):
        _ = meter.psi


def test_a_meter_that_runs_is_not_entered_again():
    network = perceptron()
    with SparsenessMeter(network) as meter:
        with pytest.raises(ConfigError, match="its block runs already"):
            meter.__enter__()
        network(images_of(2))
    with meter:
        network(images_of(3))
    assert {len(values) for values in meter.psi.values()} == {5}


def test_nan_is_refused_with_the_layer():
    network = perceptron()
    network[1].weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match="layers: 2 responds with NaN"), SparsenessMeter(network):
        network(images_of(3))


def require_no_hooks(network):
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.overrides._get_current_function_mode() is None


def test_the_model_is_left_as_it_was_and_keeps_its_gradient():
    network = perceptron().train()
    before = state_of(network)
    with SparsenessMeter(network) as meter:
        logits = network(images_of(3))
    require_same(state_of(network), before)
    assert logits.requires_grad
    assert not meter.psi["2"].requires_grad


def test_the_meter_is_off_outside_its_block():
    network = nn.Sequential(perceptron())
    with torch.no_grad(), SparsenessMeter(network) as meter:
        network(images_of(2))
    network(images_of(2))
    assert [len(psi) for psi in meter.psi.values()] == [2, 2]


@pytest.mark.parametrize("options", [{}, {"unit": "channel"}, {"layers": ["1"], "rectify": "abs"}])
@pytest.mark.parametrize("pixels", [8, 7])
def test_a_meter_and_its_module_are_free_as_soon_as_nobody_holds_them(options, pixels):
    network, images = perceptron(), images_of(2, size=pixels)
    gc.disable()
    try:
        meter = SparsenessMeter(network, **options)
        with contextlib.nullcontext() if pixels == 8 else pytest.raises(RuntimeError), meter:
            network(images)
        held = [weakref.ref(each) for each in (meter, meter._taps, network)]
        del meter, network
        assert [each() for each in held] == [None] * 3
    finally:
        gc.enable()
