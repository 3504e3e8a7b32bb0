"""State dicts of real files in the wild: unwrapped, renamed, freed of what is not needed, and every change said."""

import re
from collections import OrderedDict

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from psi_core.engine.models.sources import blank_network, model_source
from psi_core.engine.models.weights import apply_weights, read_weights
from psi_core.errors import ModelError
from tests.engine.networks import images_of, perceptron, seeded


def prefixed(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def reread(values, network, path):
    """What a network takes from a file of these values, and what is said."""
    (save_file if path.suffix == ".safetensors" else torch.save)(values, path)
    state, notes = read_weights(path, network)
    apply_weights(network, state, str(path))
    return notes


def require_same_state(network, expected):
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


@pytest.fixture
def state():
    return seeded(perceptron, 1).state_dict()


@pytest.fixture
def other():
    return seeded(perceptron, 2).state_dict()


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_plain_weights_are_taken_out_and_beat_averaged_ones(key, state, other, tmp_path):
    network, path = perceptron(), tmp_path / "a.pth"
    extra = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 0.1}]}}
    assert reread({**extra, key: state}, network, path) == [f"weights: took '{key}' out of a.pth"]
    require_same_state(network, state)
    for averaged in ("state_dict_ema", "ema", "model_ema", "ema_state_dict"):
        network = perceptron()
        notes = reread({averaged: other, **extra, key: state}, network, path)
        assert notes == [f"weights: took '{key}' out of a.pth, not the averaged '{averaged}'"]
        require_same_state(network, state)


@pytest.mark.parametrize("key", ["state_dict_ema", "ema", "model_ema", "ema_state_dict"])
def test_averaged_weights_are_taken_where_they_are_all_there_is(key, state, tmp_path):
    network = perceptron()
    notes = reread({key: prefixed("module.", state), "epoch": 3}, network, tmp_path / "a.pt")
    assert notes == [
        f"weights: took '{key}' out of a.pt, averaged weights, the only ones there",
        "weights: took the prefix 'module.' off every tensor of a.pt",
    ]
    require_same_state(network, state)


def test_torchs_own_averaged_model_is_read(state, tmp_path):
    averaged = AveragedModel(seeded(perceptron, 1))
    averaged.update_parameters(seeded(perceptron, 1))
    network = perceptron()
    notes = reread({"model_ema": averaged.state_dict()}, network, tmp_path / "a.pt")
    assert [note.partition(" out")[0] for note in notes[1:2]] == ["weights: left"]
    assert "'n_averaged'" in notes[1]
    require_same_state(network, state)


def test_wrappers_in_wrappers_are_opened_and_a_circle_of_them_is_not_followed_for_ever(state, tmp_path):
    network = perceptron()
    notes = reread({"ema": {"model": state, "decay": 0.999}}, network, tmp_path / "a.pt")
    assert "took 'model' in 'ema' out" in notes[0]
    require_same_state(network, state)
    circle = {"epoch": 3}
    circle["model"] = circle
    torch.save(circle, tmp_path / "circle.pt")
    with pytest.raises(ModelError, match=r"circle\.pt holds no state dict"):
        read_weights(tmp_path / "circle.pt", network)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    "prefixes", [("model.",), ("module.", "model."), ("model.", "_orig_mod."), ("_orig_mod.", "module.", "model.")]
)
def test_prefixes_are_taken_off_in_any_order(prefixes, suffix, state, tmp_path):
    network = perceptron()
    notes = reread(prefixed("".join(prefixes), state), network, tmp_path / f"a{suffix}")
    assert [note.split("'")[1] for note in notes] == list(prefixes)
    require_same_state(network, state)


@pytest.mark.parametrize("prefix", ["model.", "module."])
def test_a_prefix_that_the_network_has_itself_stays(prefix, state, tmp_path):
    network = nn.Sequential(OrderedDict({prefix[:-1]: perceptron()}))
    assert reread(prefixed(prefix, state), network, tmp_path / "a.pt") == []
    require_same_state(network[0], state)
    network = nn.Sequential(OrderedDict({prefix[:-1]: perceptron()}))
    assert len(reread(prefixed(2 * prefix, state), network, tmp_path / "a.pt")) == 1
    require_same_state(network[0], state)


def test_values_that_are_no_tensors_are_left_out_and_said(state, tmp_path):
    network = perceptron()
    assert reread({**state, "epoch": 3, "name": "a"}, network, tmp_path / "a.pt") == [
        "weights: left out 'epoch', 'name' of a.pt, which is no tensor"
    ]
    require_same_state(network, state)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_are_said(kind, suffix, state, tmp_path):
    network = perceptron()
    halves = {name: tensor.to(kind) if name.endswith("weight") else tensor for name, tensor in state.items()}
    notes = reread(halves, network, tmp_path / f"a{suffix}")
    assert notes == [f"weights: turned 3 of 6 tensors of a{suffix} from {str(kind)[6:]} to float32"]
    require_same_state(network, {name: tensor.float() for name, tensor in halves.items()})


def logits_of(network, size):
    with torch.no_grad():
        return network.eval()(images_of(2, 3, size))


def test_densenets_published_names_are_todays(tmp_path):
    reference = seeded(lambda: torchvision.models.densenet121(num_classes=10))
    old = {re.sub(r"(denselayer\d+\.\w+)([12])\.", r"\1.\2.", n): t for n, t in reference.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    network = model_source("torchvision:densenet121").build(10)
    (note,) = reread(old, network, tmp_path / "old.pth")
    assert "renamed 696 tensors of old.pth" in note
    assert torch.equal(logits_of(network, 32), logits_of(reference, 32))
    # With another head, as where a fit begins from ImageNet's weights.
    blank = blank_network(model_source("torchvision:densenet121"), 3)
    assert read_weights(tmp_path / "old.pth", blank)[0].keys() == reference.state_dict().keys()


def test_vits_published_names_are_todays(tmp_path):
    network = torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3
    )
    state = {name: torch.randn(tensor.shape) for name, tensor in network.state_dict().items()}
    old = {n.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): t for n, t in state.items()}
    (note,) = reread(old, network, tmp_path / "old.pth")
    assert "renamed 8 tensors" in note
    require_same_state(network, state)


@pytest.mark.parametrize(
    ("name", "size", "heads"), [("googlenet", 32, "'aux1', 'aux2'"), ("inception_v3", 75, "'AuxLogits'")]
)
def test_auxiliary_heads_are_left_out(name, size, heads, tmp_path):
    build = getattr(torchvision.models, name)
    reference = seeded(lambda: build(num_classes=10, aux_logits=True, init_weights=False))
    network = model_source(f"torchvision:{name}").build(10)
    notes = reread(reference.state_dict(), network, tmp_path / "a.pth")
    assert notes == [f"weights: left out {heads} of a.pth, auxiliary heads that only training uses"]
    assert torch.equal(logits_of(network, size), logits_of(reference, size))


def test_auxiliary_heads_stay_in_a_network_that_has_them(state, tmp_path):
    network = nn.ModuleDict({"aux1": perceptron()})
    assert reread(prefixed("aux1.", state), network, tmp_path / "a.pt") == []
    require_same_state(network["aux1"], state)


def test_mnasnet_is_read_from_a_file_that_keeps_no_version(tmp_path):
    source = model_source("torchvision:mnasnet0_5")
    state = seeded(lambda: source.build(10)).state_dict()
    network = seeded(lambda: source.build(10), 1)
    assert reread(dict(state), network, tmp_path / "a.safetensors") == []
    require_same_state(network, state)


def test_a_blank_network_has_the_names_and_shapes_of_a_real_one_and_leaves_the_random_state():
    before = torch.get_rng_state()
    for name in ("alexnet", "torchvision:regnet_y_400mf"):
        source = model_source(name)
        shapes = {key: tensor.shape for key, tensor in blank_network(source, 7).state_dict().items()}
        assert torch.equal(torch.get_rng_state(), before)
        with torch.random.fork_rng(devices=[]):
            assert {key: tensor.shape for key, tensor in source.build(7).state_dict().items()} == shapes
