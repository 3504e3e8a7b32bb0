"""Weights: any honest file is read, no file's code is ever run, and each refusal names the way out."""

import pickle
import random
import urllib.error

import pytest
import torch
from safetensors.torch import save_file

from psi_core.engine.models.sources import blank_network, model_source
from psi_core.engine.models.weights import (
    apply_weights,
    classes_in,
    imagenet_file,
    read_weights,
    state_sha256,
)
from psi_core.errors import ModelError
from psi_core.files import file_sha256
from tests.engine.networks import Functional, perceptron, seeded


@pytest.fixture
def state():
    return perceptron().state_dict()


def require_same_state(found, expected):
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_a_state_dict_is_read_from_any_kind_of_file(suffix, state, tmp_path):
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    found, notes = read_weights(path, perceptron())
    require_same_state({name: found[name] for name in state}, state)
    assert notes == []


def test_a_file_of_the_time_before_zip_is_read(state, tmp_path):
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    require_same_state(read_weights(tmp_path / "old.pth", perceptron())[0], state)


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda state: {"state_dict": state, "epoch": 3}, ["took 'state_dict' out"]),
        (lambda state: {f"module.{name}": tensor for name, tensor in state.items()}, ["'module.'"]),
        (lambda state: {f"_orig_mod.{name}": tensor for name, tensor in state.items()}, ["'_orig_mod.'"]),
        (lambda state: {f"_orig_mod.module.{n}": t for n, t in state.items()}, ["'_orig_mod.'", "'module.'"]),
        (lambda state: {f"module._orig_mod.{n}": t for n, t in state.items()}, ["'module.'", "'_orig_mod.'"]),
        (
            lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
            ["took 'state_dict' out", "'module.'"],
        ),
    ],
)
def test_wrappers_are_taken_off_and_said(wrap, said, state, tmp_path):
    path = tmp_path / "wrapped.pt"
    torch.save(wrap(state), path)
    found, notes = read_weights(path, perceptron())
    require_same_state(found, state)
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"there is no file .*nowhere.pt; write fitted, random"):
        read_weights(tmp_path / "nowhere.pt", perceptron())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_truncated_or_damaged_file_is_refused(suffix, zipped, state, tmp_path):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    chance = random.Random(1)
    for length in (0, 1, 7, 8, 100, *(chance.randrange(len(whole)) for _ in range(40)), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="weights: "):
            read_weights(path, perceptron())
    for _ in range(20):
        path.write_bytes(chance.randbytes(chance.randrange(1, 400)))
        with pytest.raises(ModelError, match="weights: "):
            read_weights(path, perceptron())


class Code:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return exec, (f"open({str(self.target)!r}, 'w').close()",)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_file_is_never_run(save, state, tmp_path):
    path, target = tmp_path / "trap.pt", tmp_path / "trapped"
    save({**state, "extra": Code(target)}, path)
    with pytest.raises(ModelError, match="holds code besides tensors, which is never run"):
        read_weights(path, perceptron())
    assert not target.exists()
    pickle.loads(pickle.dumps(Code(target)))
    assert target.exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(perceptron(), tmp_path / "module.pt")
    with pytest.raises(ModelError, match="save a state dict"):
        read_weights(tmp_path / "module.pt", perceptron())


@pytest.mark.parametrize("value", [[1, 2], {}, {"epoch": 3}, {"state_dict": {}}, torch.ones(2)])
def test_a_file_without_a_state_dict_is_refused(value, tmp_path):
    torch.save(value, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="holds no state dict"):
        read_weights(tmp_path / "other.pt", perceptron())


def test_weights_are_copied_into_the_network(state):
    network = seeded(perceptron, seed=1)
    network.load_state_dict({name: tensor + 1 for name, tensor in state.items()})
    apply_weights(network, state, "here.pt")
    require_same_state(network.state_dict(), state)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_become_the_networks_own(kind, state):
    network = perceptron()
    apply_weights(network, {name: tensor.to(kind) for name, tensor in state.items()}, "here.pt")
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[name].to(kind).float())


def test_weights_of_another_architecture_are_refused_by_the_first_tensor_that_differs(state):
    with pytest.raises(ModelError, match=r"here.pt has 5.weight \(3, 6\), the model \(10, 6\)"):
        apply_weights(perceptron(10), state, "here.pt")
    with pytest.raises(ModelError, match=r"here.pt lacks conv1.weight \(4, 1, 3, 3\)"):
        apply_weights(Functional(), state, "here.pt")
    with pytest.raises(ModelError, match=r"here.pt has extra \(2,\), which the model lacks"):
        apply_weights(perceptron(), {**state, "extra": torch.ones(2)}, "here.pt")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(value, state):
    state["3.weight"][2, 4] = value
    with pytest.raises(ModelError, match=r"3.weight in here.pt holds NaN or infinity"):
        apply_weights(perceptron(), state, "here.pt")


def test_batch_counts_that_older_files_lack_are_no_other_architecture():
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(2))
    old = {name: tensor + 2 for name, tensor in network.state_dict().items() if "num_batches" not in name}
    apply_weights(network, old, "here.pt")
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in old.items())


def test_classes_are_those_of_the_last_matrix(state):
    assert classes_in(state, perceptron(10)) == 3
    assert classes_in({}, perceptron()) is None


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Torchvision's cache, empty, and no network."""

    def refuse(*_arguments, **_options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_imagenet_weights_absent_and_no_network_say_where_the_file_belongs(hub):
    with pytest.raises(ModelError) as refusal:
        imagenet_file(model_source("alexnet"))
    text = str(refusal.value)
    assert str(hub / "alexnet-owt-7be5be79.pth") in text
    assert "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth" in text
    assert "no route to host" in text
    assert not list(hub.iterdir())


def test_imagenet_weights_in_the_cache_are_taken(hub):
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in model_source("alexnet").build(1000).state_dict().items()}
    # Views of one number, so that the file takes no 244 MB.
    state = {name: torch.full((1,), 0.01).expand(shape) for name, shape in shapes.items()}
    hub.mkdir(parents=True)
    torch.save(state, hub / "alexnet-owt-7be5be79.pth")
    path = imagenet_file(model_source("alexnet"))
    found, notes = read_weights(path, blank_network(model_source("alexnet"), 10))
    assert notes == []
    assert found["classifier.6.weight"].shape == (1000, 4096)
    with torch.device("meta"):
        assert classes_in(found, model_source("alexnet").build(10)) == 1000


def test_models_without_imagenet_weights_say_so(hub):
    with pytest.raises(
        ModelError, match="no ImageNet weights are published for lenet5; write fitted, random or a file"
    ):
        imagenet_file(model_source("lenet5"))


def test_a_hash_knows_files_and_states_apart(state, tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert state_sha256(perceptron()) == state_sha256(perceptron())
    changed = perceptron()
    changed[1].weight.data[0, 0] += 1e-6
    assert state_sha256(changed) != state_sha256(perceptron())


def test_vast_sparse_weights_are_refused_before_they_are_spread_out(tmp_path):
    place = torch.zeros(2, 1, dtype=torch.long)
    vast = torch.sparse_coo_tensor(place, torch.ones(1), (10**6, 10**6), check_invariants=False)
    torch.save({"0.weight": vast, "0.bias": torch.zeros(2)}, tmp_path / "vast.pt")
    with pytest.raises(ModelError, match=r"a sparse tensor of shape \(1000000, 1000000\) has no room"):
        read_weights(tmp_path / "vast.pt", torch.nn.Sequential(torch.nn.Linear(4, 2)))
