"""Checkpoints as researchers bring them: known by content, the part that fits is taken, else the cause is named."""

import argparse
import collections
import datetime
import io
import pathlib
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from psi_core.engine.models.weights import apply_weights, read_weights, state_sha256
from psi_core.errors import ModelError
from tests.engine.networks import perceptron, seeded

CIFAR = ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))


@pytest.fixture
def state():
    return dict(seeded(perceptron, 1).state_dict())


@pytest.fixture
def other():
    return {name: tensor + 1 for name, tensor in perceptron().state_dict().items()}


def prefixed(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def taken(values, tmp_path, expected=None, network=None, name="a.ckpt"):
    """The network that took its weights from a file of these values, and what was said."""
    torch.save(values, tmp_path / name)
    network = network or perceptron()
    state, notes = read_weights(tmp_path / name, network, expected)
    apply_weights(network, state, name)
    return network, " | ".join(notes)


def require_same(network, state):
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


NAMES = ["a.ckpt", "a.pth.tar", "pytorch_model.bin", "a.tar", "a.pkl", "a", "a.h5", "a.zip", "a.safetensors"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["zip", "legacy", "safetensors"])
def test_endings_count_for_nothing(name, how, state, tmp_path):
    path = tmp_path / name
    if how == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=how == "zip")
    network = perceptron()
    apply_weights(network, read_weights(path, network)[0], name)
    require_same(network, state)


COMPANY = {
    "scalar of NumPy": np.float64(93.2),
    "array of NumPy": np.arange(3),
    "names of NumPy": np.array(["cat", "dog"]),
    "flag of NumPy": np.bool_(True),
    "state of NumPy's generator": np.random.RandomState(0).get_state(),
    "generator of NumPy": np.random.default_rng(0),
    "namespace": argparse.Namespace(lr=0.1, path=pathlib.Path("/data"), when=datetime.datetime(2020, 1, 1)),
    "path": pathlib.PurePosixPath("/data"),
    "path of Windows": pathlib.PureWindowsPath("C:/data"),
    "date": (datetime.date(2020, 1, 1), datetime.timedelta(1), datetime.datetime.now(datetime.UTC)),
    "size": torch.Size([3, 4]),
    "kind": (torch.float32, torch.device("cpu"), torch.strided),
    "counter": collections.Counter("abc"),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "deque": collections.deque([1.0, 2.0], 5),
    "set": ({1}, frozenset({2})),
    "range": (range(3), slice(1, 2)),
    "version": torch.__version__,
    "bytes": b"abc",
    "kinds": [int, float],
}


@pytest.mark.parametrize("legacy", [False, True])
def test_harmless_company_is_no_code(legacy, state, tmp_path):
    for company in (*COMPANY.values(), COMPANY):
        path = tmp_path / "a.ckpt"
        torch.save({"state_dict": state, "x": company}, path, _use_new_zipfile_serialization=not legacy)
        network = perceptron()
        found, notes = read_weights(path, network)
        apply_weights(network, found, "a.ckpt")
        require_same(network, state)
        assert notes == ["weights: took 'state_dict' out of a.ckpt"]


STATE_DICTS = {
    "wrapped": lambda own: {"model": own},
    "copied": lambda own: {name: tensor.clone() for name, tensor in own.items()},
    "with company": lambda own: {**own, "version": 3, "_extra_state": b""},
}


@pytest.mark.parametrize("how", STATE_DICTS)
def test_a_network_may_state_its_tensors_in_its_own_way(how, state, tmp_path):
    class Stated(nn.Sequential):
        def state_dict(self, *arguments, **options):
            return STATE_DICTS[how](super().state_dict(*arguments, **options))

    network = Stated(*perceptron())
    network[1].weight.data.zero_()
    before = state_sha256(network)
    taken(state, tmp_path, network=network)
    require_same(perceptron().__class__(*network), state)
    assert state_sha256(network) != before


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_sparse_tensors_are_filled(layout, state, tmp_path):
    name = next(name for name, tensor in state.items() if tensor.dim() == 2)
    sparse = state[name].to_sparse() if layout == "coo" else state[name].to_sparse_csr()
    network, _ = taken({"net": {**state, name: sparse}, "copy": {**state, name: sparse}}, tmp_path)
    require_same(network, state)


def test_a_copy_beside_the_network_is_left_out(state, other, tmp_path):
    network, notes = taken({**state, **prefixed("ema.", other)}, tmp_path)
    require_same(network, state)
    assert "left the averaged 'ema.'" in notes
    with pytest.raises(ModelError, match=r"two state dicts of .* fit the model, the names without .* and 'teacher\.'"):
        taken({**state, **prefixed("teacher.", other)}, tmp_path)
    require_same(taken({**state, **prefixed("best.", state)}, tmp_path)[0], state)


def test_a_tensor_that_is_not_there_is_named_with_what_may_stand_in_its_place(state, tmp_path):
    *kept, last = state
    renamed = {**{name: state[name] for name in kept}, "head.bias": state[last]}
    with pytest.raises(ModelError, match=rf"lacks {last} \(\d+,\) and has head\.bias \(\d+,\); it is of another"):
        taken(renamed, tmp_path)
    with pytest.raises(ModelError, match=rf"lacks {last} \(\d+,\); it is of another architecture, or without its head"):
        taken({name: state[name] for name in kept}, tmp_path)


def test_complex_tensors_of_a_real_network_are_refused_as_such(state, tmp_path):
    name = next(iter(state))
    with pytest.raises(ModelError, match=rf"{name} in .* is of complex64, the model's is real"):
        taken({**state, name: state[name].to(torch.cfloat)}, tmp_path)


class Settings:
    """A class of the user's own."""


@pytest.mark.parametrize("company", [Settings(), Settings, [Settings()], print, getattr, {"a": tarfile.TarFile}])
def test_unknown_company_is_named_and_never_run(company, state, tmp_path):
    torch.save({"state_dict": state, "x": company}, tmp_path / "a.pt")
    with pytest.raises(
        ModelError, match=r"holds code besides tensors, which is never run: \S*(Settings|print|getattr|TarFile)"
    ):
        read_weights(tmp_path / "a.pt", perceptron())


PLACES = {
    **{key: (lambda s, key=key: {key: s, "epoch": 3}) for key in ("params", "network", "model_state", "ema_model")},
    **{key: (lambda s, key=key: {key: s, "loss": 0.1}) for key in ("net", "generator.weights", "best_model", "0")},
    **{
        prefix: (lambda s, prefix=prefix: prefixed(prefix, s))
        for prefix in ("net.", "backbone.", "1.", "features.module.", "encoder.model.", "module.model.")
    },
    "loss beside": lambda s: {**prefixed("model.", s), "criterion.weight": torch.ones(3)},
    "loss without prefix": lambda s: {**s, "criterion.weight": torch.ones(3), "train_acc.total": torch.ones(1)},
    "Madry's": lambda s: {
        "model": {**prefixed("module.model.", s), **prefixed("module.attacker.model.", s)},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}},
    },
    "Lightning's": lambda s: {"state_dict": prefixed("net.", s), "hyper_parameters": {"lr": 0.1}},
    "a list": lambda s: [s, {"lr": 0.1}],
    "a tuple in a key": lambda s: {"checkpoint": (3, s)},
    "arrays": lambda s: {name: tensor.numpy() for name, tensor in s.items()},
    "parameters": lambda s: {name: nn.Parameter(tensor) for name, tensor in s.items()},
    "the same twice": lambda s: {"state_dict": s, "best_state_dict": {name: t.clone() for name, t in s.items()}},
}


@pytest.mark.parametrize("place", PLACES)
def test_the_part_that_fits_is_taken_and_said(place, state, tmp_path):
    network, notes = taken(PLACES[place](state), tmp_path)
    require_same(network, state)
    assert notes or place in ("arrays", "parameters")
    if place.endswith("."):
        assert f"'{place.split('.')[0]}.'" in notes
    if place in ("params", "network", "model_state", "ema_model"):
        assert f"took '{place}' out of a.ckpt" in notes
    if "loss" in place:
        assert "'criterion.weight'" in notes


def test_wrappers_inside_names_are_taken_out(tmp_path):
    network = nn.Sequential(collections.OrderedDict(features=perceptron(6), classifier=nn.Linear(6, 2)))
    state = {name: torch.randn(tensor.shape) for name, tensor in network.state_dict().items()}
    for wrapper in ("module.", "_orig_mod.", "_fsdp_wrapped_module."):
        inside = {name.replace("features.", f"features.{wrapper}"): tensor for name, tensor in state.items()}
        took, notes = taken(inside, tmp_path, network=network)
        require_same(took, state)
        assert f"took '{wrapper}' out of the names" in notes


def test_a_network_inside_a_wrapper_takes_the_weights_of_the_network_alone(state, tmp_path):
    wrapped = nn.Sequential(collections.OrderedDict(model=perceptron()))
    wrapped.register_buffer("mean", torch.tensor([0.5]))
    took, notes = taken(state, tmp_path, network=wrapped)
    require_same(took.model, state)
    assert "put the prefix 'model.' before every tensor" in notes
    assert took.mean.item() == 0.5


def test_a_learned_scale_that_a_file_lacks_is_no_constant(state, tmp_path):
    learned = nn.Sequential(collections.OrderedDict(model=perceptron()))
    learned.register_parameter("sigma", nn.Parameter(torch.ones(1)))
    with pytest.raises(ModelError, match="lacks sigma"):
        taken(state, tmp_path, network=learned)


@pytest.mark.parametrize(
    ("values", "both"),
    [
        (lambda s, o: {"state_dict": s, "best_state_dict": o}, ("'state_dict'", "'best_state_dict'")),
        (lambda s, o: {"student": s, "teacher": o}, ("'student'", "'teacher'")),
        (lambda s, o: {**prefixed("student.", s), **prefixed("teacher.", o)}, ("'student.'", "'teacher.'")),
        (lambda s, o: {**s, **prefixed("momentum.", o)}, ("without a prefix", "'momentum.'")),
        (lambda s, o: {"nets": [s, o]}, ("'0' in 'nets'", "'1' in 'nets'")),
    ],
)
def test_two_parts_that_fit_are_refused_by_both_names(values, both, state, other, tmp_path):
    with pytest.raises(ModelError, match=r"two state dicts of a\.ckpt fit the model") as refusal:
        taken(values(state, other), tmp_path)
    assert all(name in str(refusal.value) for name in both)


def test_weights_of_another_network_are_refused_by_both_sides_names(tmp_path):
    values = {"net": {"layer1.0.conv1.weight": torch.ones(2, 2), "fc.weight": torch.ones(3, 2)}, "epoch": 3}
    with pytest.raises(
        ModelError,
        match=r"holds under 'net' 'layer1\.0\.conv1\.weight', 'fc\.weight', and the model asks for '1\.weight'",
    ):
        taken(values, tmp_path)


def test_a_head_of_other_classes_is_named_as_one(tmp_path):
    with pytest.raises(
        ModelError, match=r"5\.weight \(7, 6\), the model \(3, 6\): a head of 7 classes, the model's has 3"
    ):
        taken(seeded(lambda: perceptron(7)).state_dict(), tmp_path)
    wrong = {**perceptron().state_dict(), "1.weight": torch.ones(9, 64), "1.bias": torch.ones(9)}
    with pytest.raises(ModelError, match=r"1\.weight \(9, 64\), the model \(12, 64\) and 1 more differ"):
        taken(wrong, tmp_path)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_rounded_and_empty_tensors_are_refused(state, tmp_path):
    with pytest.raises(ModelError, match=r"1\.weight in a\.ckpt is of int8, rounded"):
        taken({**state, "1.weight": state["1.weight"].to(torch.int8)}, tmp_path)
    with pytest.raises(ModelError, match="is quantized"):
        taken({**state, "1.weight": torch.quantize_per_tensor(state["1.weight"], 0.1, 0, torch.qint8)}, tmp_path)
    with pytest.raises(ModelError, match="has a shape and no values"):
        taken({**state, "1.weight": state["1.weight"].to("meta")}, tmp_path)


NORMALIZATIONS = {
    "mu and sigma": lambda s, m, d: {**s, "mu": m.view(1, 3, 1, 1), "sigma": d.view(1, 3, 1, 1)},
    "Madry's": lambda s, m, d: {
        **prefixed("module.model.", s),
        "module.normalizer.new_mean": m.view(3, 1, 1),
        "module.normalizer.new_std": d.view(3, 1, 1),
    },
    "a sequence's": lambda s, m, d: {**prefixed("1.", s), "0.mean": m, "0.std": d},
    "Detectron's": lambda s, m, d: {"model": {**prefixed("backbone.", s), "pixel_mean": 255 * m, "pixel_std": 255 * d}},
}


@pytest.mark.parametrize("kind", NORMALIZATIONS)
def test_a_wrappers_normalization_points_to_the_option(kind, state, tmp_path):
    mean, sd = map(torch.tensor, CIFAR)
    values = NORMALIZATIONS[kind](state, mean, sd)
    written = r"--normalize 0\.4914,0\.4822,0\.4465/0\.247,0\.2435,0\.2616"
    with pytest.raises(ModelError, match=written):
        taken(values, tmp_path, expected=((0.0,), (1.0,)))
    for agreed in (CIFAR, None):
        network, notes = taken(values, tmp_path, expected=agreed)
        require_same(network, state)
        assert "a normalization, 0.4914,0.4822,0.4465/0.247,0.2435,0.2616" in notes


def test_running_means_are_no_normalization_of_pixels(tmp_path):
    network = nn.Sequential(nn.BatchNorm2d(3))
    state = {f"{part}.{name}": tensor for part in ("a", "a.b") for name, tensor in network.state_dict().items()}
    values = {
        **prefixed("net.", network.state_dict()),
        "projector.running_mean": torch.ones(3),
        "projector.sd": state["a.0.bias"],
    }
    taken(values, tmp_path, expected=((0.0,), (1.0,)), network=network)


def archive_of(names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
    return content.getvalue()


def varint_field(number, value):
    return bytes([number << 3, value])


def bytes_field(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


FOREIGN = {
    "h5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "Keras"),
    "keras": (archive_of(["config.json", "metadata.json", "model.weights.h5"]), "Keras"),
    "onnx": (
        varint_field(1, 8) + bytes_field(2, b"pytorch") + bytes_field(7, b"graph") + bytes_field(8, b"\x10\x11"),
        "onnx",
    ),
    "pb": (varint_field(1, 1) + bytes_field(2, b"meta graph"), "TensorFlow"),
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(50), "TensorFlow Lite"),
    "index": (b"\x00\x00\x01\x02" + bytes(90), "TensorFlow"),
    "npz": (archive_of(["a.npy", "b.npy"]), r"np\.load"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(50), "one array"),
    "gz": (b"\x1f\x8b\x08" + bytes(50), "gunzip"),
    "xz": (b"\xfd7zXZ\x00" + bytes(50), "unxz"),
    "zip": (archive_of(["weights/a.pt", "readme.md"]), "unpack it"),
    "html": (b"<!DOCTYPE html><html>Google Drive - Virus scan warning</html>", "a web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git lfs pull"),
    "py": (b"import torch\n", r"--model .*a\.py:NAME"),
    "json": (b'{"metadata": {}, "weight_map": {"a": "b"}}', "several files"),
    "txt": (b"epoch 3 loss 0.2\n", "text"),
    "nothing": (b"", "is empty"),
    "mat": (b"MATLAB 5.0 MAT-file" + bytes(50), "scipy"),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("is_disguised", [False, True])
def test_other_kinds_of_files_are_named_as_what_they_are(kind, is_disguised, tmp_path):
    if is_disguised and kind in ("index", "py"):
        pytest.skip("known by its name alone")
    content, said = FOREIGN[kind]
    path = tmp_path / ("a.pt" if is_disguised else f"a.{kind}")
    path.write_bytes(content)
    with pytest.raises(ModelError, match=said) as refusal:
        read_weights(path, perceptron())
    assert "\n" not in str(refusal.value)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_archives_scripts_and_pickled_modules_are_named_with_the_lines_that_convert_them(tmp_path, state):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(__file__, "inside.py")
    torch.jit.trace(perceptron(), torch.ones(1, 1, 8, 8)).save(tmp_path / "script.pt")
    torch.save({"model": perceptron(), "epoch": 3}, tmp_path / "module.pt")
    torch.save(perceptron(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor in state.items()}))
    for name, said in (
        ("a.tar", r"a tar archive of inside\.py; unpack it"),
        ("script.pt", r"a TorchScript archive, .* torch\.jit\.load\('script\.pt'\), then torch\.save\(net\.state_dict"),
        ("module.pt", r"a pickled module .*Sequential; .*weights_only=False\), then torch\.save\(net\.state_dict"),
        ("old.pt", "a pickled module"),
        ("plain.pkl", r"where pickle wrote it, convert it: values = pickle\.load"),
    ):
        with pytest.raises(ModelError, match=said):
            read_weights(tmp_path / name, perceptron())
    with pytest.raises(ModelError, match=r"is a folder; name a file in it, such as .*a\.tar"):
        read_weights(tmp_path, perceptron())
