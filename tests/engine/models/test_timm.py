"""timm's models: an extra whose facts are its own, and whose absence, misspelling or missing weights are answered."""

import sys
import types

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file

from psi_core import RunConfig
from psi_core.engine import analyze
from psi_core.engine.models.layers import select_calls, trace_network
from psi_core.engine.models.sources import input_channels, model_source, resolved_normalization
from psi_core.engine.models.timm import timm_names
from psi_core.engine.models.weight_files import read_values
from psi_core.engine.models.weights import imagenet_file
from psi_core.engine.preparation import prepare
from psi_core.errors import ModelError
from tests.engine.networks import seeded


@pytest.mark.parametrize(
    ("name", "size", "smallest", "largest", "normalize"),
    [
        ("resnet10t", 176, 1, None, "imagenet"),
        ("resnet10t.c3_in1k", 176, 1, None, "imagenet"),
        ("test_vit", 160, 160, 160, "0.5,0.5,0.5/0.5,0.5,0.5"),
        ("inception_v3", 299, 1, None, "0.5,0.5,0.5/0.5,0.5,0.5"),
    ],
)
def test_size_and_normalization_are_timms_own(name, size, smallest, largest, normalize):
    source = model_source(f"timm:{name}")
    assert (source.input_size(None), source.smallest, source.largest) == (size, smallest, largest)
    assert resolved_normalization(source, RunConfig(model=f"timm:{name}")) == normalize
    facts = timm.get_pretrained_cfg(name)
    assert facts.input_size == (3, size, size)


@pytest.mark.parametrize(
    ("name", "count"), [("resnet10t", 11), ("densenet121", 121), ("regnety_002", 1 + 13 * 4), ("tresnet_m", None)]
)
def test_every_relu_is_tapped_once_per_call(name, count):
    source = model_source(f"timm:{name}")
    with torch.device("meta"):
        network = source.build(10).eval()
    trace = trace_network(network, input_channels(network), 64)
    relus = select_calls(trace, ["relu"], "none", name)
    assert trace.classes == 10
    assert len({call.path for call in relus}) == len(relus) == (count or len(relus))


def test_a_network_of_timms_without_relu_runs_with_layers_and_rectify(tmp_path):
    values = {"model": "timm:test_vit", "weights": "random", "images": 3, "controls": "none"}
    with pytest.raises(ModelError, match=r"timm:test_vit calls no ReLU; .*--layers NAMES --rectify abs"):
        prepare(RunConfig(**values))
    run = analyze(RunConfig(**values, layers="blocks.*.mlp.act", rectify="relu"), tmp_path)
    assert run.psi.shape == (2, 6, 3)
    assert ((run.psi > 0) & (run.psi < 1)).all()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("resnet10tt", "there is no 'timm:resnet10tt'; did you mean 'timm:resnet10t'"),
        ("resnet10t.c3_in2k", "did you mean 'timm:resnet10t.c3_in1k'"),
        ("", "there is no 'timm:'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, text):
    with pytest.raises(ModelError, match=text):
        model_source(f"timm:{name}")


def test_where_timm_is_not_installed_the_way_out_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"timm is not installed; pip install 'psi-tui\[timm\]'"):
        model_source("timm:resnet10t")


def test_the_default_weights_are_fitted_as_torchvisions_are():
    assert RunConfig(model="timm:resnet10t").weights == "fitted"
    assert timm_names() == timm.list_models()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of Hugging Face's, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub" / "models--timm--resnet10t.c3_in1k"


def test_pretrained_weights_that_cannot_be_had_are_asked_for_as_a_file(hub):
    with pytest.raises(ModelError) as refusal:
        imagenet_file(model_source("timm:resnet10t"))
    text = str(refusal.value)
    assert "pretrained weights of timm:resnet10t are not cached and cannot be downloaded" in text
    assert "put model.safetensors of https://huggingface.co/timm/resnet10t.c3_in1k anywhere" in text
    assert text.endswith("name it with --weights")


def test_pretrained_weights_in_the_cache_are_taken_with_their_own_head(hub):
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("0" * 40)
    snapshot = hub / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    network = seeded(lambda: timm.create_model("resnet10t", num_classes=1000))
    save_file(network.state_dict(), snapshot / "model.safetensors")
    prepared = prepare(RunConfig(model="timm:resnet10t", weights="imagenet", size=32, images=5, labels="predicted"))
    assert prepared.trace.classes == 1000
    assert prepared.card["source"] == str(snapshot / "model.safetensors")
    own = prepared.classifier.network.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in network.state_dict().items())


def test_pretrained_weights_outside_hugging_face_lie_in_torchs_cache(tmp_path, monkeypatch):
    facts = types.SimpleNamespace(
        **{**vars(timm.get_pretrained_cfg("resnet10t")), "hf_hub_id": None, "url": "https://example.org/a-0123.pth"}
    )
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: facts)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / "a-0123.pth"
    place.parent.mkdir(parents=True)
    torch.save({"fc.bias": torch.ones(3)}, place)
    assert imagenet_file(model_source("timm:resnet10t")) == place
    assert read_values(place).keys() == {"fc.bias"}


def test_models_of_which_no_weights_are_published_say_so():
    facts = {name: timm.get_pretrained_cfg(name) for name in timm.list_models("res*")}
    name = next(name for name, known in facts.items() if not known.hf_hub_id and not known.url)
    with pytest.raises(ModelError, match=f"no ImageNet weights are published for timm:{name}; write fitted, random"):
        imagenet_file(model_source(f"timm:{name}"))
