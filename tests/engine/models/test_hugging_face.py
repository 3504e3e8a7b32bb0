"""Models of Hugging Face: what their files say is what a run does, and what cannot be read safely is refused."""

import json
import sys

import numpy as np
import pytest
import torch

from psi_core import RunConfig
from psi_core.engine import analyze
from psi_core.engine.images import load_dataset, read_inputs
from psi_core.engine.images.classes import match_classes
from psi_core.engine.models.sources import IMAGENET_MEAN_SD, absolute_model, build_classifier, model_source
from psi_core.engine.preparation import prepare
from psi_core.errors import ConfigError, ModelError
from psi_core.options import parse_mean_sd
from tests.engine.images.test_classes import labels, named
from tests.engine.networks import seeded

transformers = pytest.importorskip("transformers")

CONFIG = {
    **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    **{"image_size": 32, "patch_size": 8},
}
HALF = (0.5, 0.5, 0.5)


def saved(folder, processor=None, build=None, **config):
    """A vision transformer as transformers writes it, and its processor's file."""
    found = transformers.ViTConfig(**CONFIG | {"num_labels": 10} | config)
    seeded(lambda: (build or transformers.ViTForImageClassification)(found)).save_pretrained(folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return f"hf:{folder}"


SQUARE = {"size": {"height": 32, "width": 32}}
VIT = {"image_processor_type": "ViTImageProcessor", **SQUARE}


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("vit"), VIT)


def test_a_run_equals_plain_hooks_in_float64(vit, tmp_path):
    config = RunConfig(
        **{"model": vit, "layers": "*.mlp.fc1", "rectify": "relu", "images": 9, "batch": 4, "controls": "none"},
        unit="channel",
    )
    run = analyze(config, tmp_path)
    network = transformers.ViTForImageClassification.from_pretrained(vit.removeprefix("hf:")).eval()
    layers = [network.get_submodule(name) for name in run.layers]
    assert len(layers) == 2
    kept = []
    for layer in layers:
        layer.register_forward_hook(lambda _m, _i, output: kept.append(output.double().relu()))
    images = read_inputs(load_dataset("mnist", "test"), run.index, 32, 3, run.config.device)
    with torch.no_grad():
        chosen = network((images - 0.5) / 0.5).logits.argmax(1)
    assert run.predictions[0].tolist() == chosen.tolist()
    for at, responses in enumerate(kept):
        means = responses.mean(1)
        share = means.mean(1).square() / means.square().mean(1)
        np.testing.assert_allclose(run.psi[0, at], (1 - share) / (1 - 1 / 24), atol=2e-6)
    assert run.config.weights == "built"
    assert run.config.normalize == "0.5,0.5,0.5/0.5,0.5,0.5"
    assert prepare(config).notes == (
        f"model: {vit} is ViTForImageClassification of transformers",
        "model: its processor gives 32 x 32 pixels, normalized by mean 0.5,0.5,0.5 and sd 0.5,0.5,0.5",
        "model: took the logits out of its ImageClassifierOutput",
    )


PROCESSORS = {
    "vit": (VIT, 32, (HALF, HALF)),
    "its own numbers": ({**VIT, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}, 32, None),
    "not normalized": ({**VIT, "do_normalize": False}, 32, ((0, 0, 0), (1, 1, 1))),
    "not scaled": ({**VIT, "do_rescale": False}, 32, None),
    "scaled to -1..1": ({**VIT, "rescale_factor": 1 / 127.5, "image_mean": [1] * 3, "image_std": [1] * 3}, 32, None),
    "not resized": ({**VIT, "do_resize": False}, 32, (HALF, HALF)),
    "a crop of a shorter edge": (
        {
            **{"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 40}},
            **{"crop_size": SQUARE["size"], "image_mean": IMAGENET_MEAN_SD[0]},
            "image_std": IMAGENET_MEAN_SD[1],
        },
        32,
        IMAGENET_MEAN_SD,
    ),
    "a share of a shorter edge": (
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 24}, "crop_pct": 0.875},
        24,
        (HALF, HALF),
    ),
    "blue first": (
        {"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 36}, "crop_size": SQUARE["size"]},
        32,
        ((0, 0, 0), (1, 1, 1)),
    ),
    "normalized twice": ({"image_processor_type": "EfficientNetImageProcessor", **SQUARE}, 32, None),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_size_and_normalization_are_those_of_the_processor(name, tmp_path):
    values, size, expected = PROCESSORS[name]
    source = model_source(saved(tmp_path, values, image_size=size))
    assert source.input_size(None) == size
    if expected is not None:
        text = source.normalization
        found = {"none": ((0,) * 3, (1,) * 3), "imagenet": IMAGENET_MEAN_SD}.get(text) or parse_mean_sd(text)
        assert tuple(map(tuple, found)) == tuple(map(tuple, expected))
    # What reaches the network is what the processor gives, for an image that needs no resizing.
    classifier = build_classifier(source, 10, source.normalization)
    got = []
    classifier.network.vit.embeddings.register_forward_pre_hook(lambda _m, inputs, *_: got.append(inputs[0]))
    image = np.random.default_rng(0).integers(0, 256, (3, size, size), dtype=np.uint8)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    is_cropped = "crop_size" in values or "crop_pct" in values
    options = {"do_resize": False, "do_center_crop": False} if is_cropped else {}
    options = {} if "crop_pct" in values else options
    if "crop_pct" in values:
        processor.size, processor.crop_pct = {"shortest_edge": 384}, None  # Resized whole from 384 on.
        image = np.repeat(image[:, :1, :1], size, 1).repeat(size, 2)
    wanted = processor([image], return_tensors="pt", input_data_format="channels_first", **options)
    wanted = wanted["pixel_values"][:, :, :size, :size]
    with torch.no_grad():
        classifier(torch.tensor(image)[None].float() / 255)
    torch.testing.assert_close(got[0], wanted, atol=2e-5, rtol=1e-5)


def test_a_folder_without_a_processor_says_that_pixels_go_in_as_they_are(tmp_path):
    source = model_source(saved(tmp_path))
    assert (source.size, source.normalization) == (32, "none")
    assert "the processor of hf:" in source.notes[0]
    assert "--normalize" in source.notes[0]


def test_one_channel_is_told(tmp_path):
    values = {**VIT, "image_mean": [0.1], "image_std": [0.3], "do_convert_rgb": False}
    source = model_source(saved(tmp_path, values, num_channels=1))
    assert source.normalization == "0.1/0.3"
    assert prepare(RunConfig(model=source.name, images=3, layers="*.fc1", rectify="abs")).trace.channels == 1


def test_classes_are_matched_by_what_the_network_calls_them(tmp_path):
    names = {0: "dog", 1: "Tabby-cat", 2: "hen"}
    model = saved(tmp_path, VIT, id2label=names, label2id={name: at for at, name in names.items()}, num_labels=3)
    known = model_source(model).class_names
    assert known == ("dog", "Tabby-cat", "hen")
    matched = match_classes(named("hen", "tabby cat"), 3, model, head_names=known)
    assert (labels(matched), matched.class_names) == ([2, 1], known)
    assert labels(match_classes(named("2", "0"), 3, model, head_names=known)) == [2, 0]
    # As many as the head has, in an order of their own: by order they would be scored wrongly.
    with pytest.raises(ConfigError, match=r"calls its classes dog, Tabby-cat, hen and mine ant, bee, cow"):
        match_classes(named("ant", "bee", "cow"), 3, model, head_names=known)
    (tmp_path / "plain").mkdir()
    assert model_source(saved(tmp_path / "plain", VIT)).class_names == (), "LABEL_0 is no name"


def test_predictions_are_counted_by_what_the_network_calls_its_classes(tmp_path):
    names = {at: f"animal {at}" for at in range(4)}
    model = saved(tmp_path, VIT, id2label=names, label2id={name: at for at, name in names.items()}, num_labels=4)
    prepared = prepare(RunConfig(model=model, labels="predicted", layers="*.fc1", rectify="abs", images=4))
    assert prepared.card["class_names"] == list(names.values())


def test_a_path_becomes_absolute_and_a_name_of_the_hub_stays(vit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert absolute_model("hf:./mine") == f"hf:{tmp_path}/mine"
    assert absolute_model("hf:owner/name") == "hf:owner/name"


def test_what_is_no_classifier_is_refused(tmp_path):
    transformers.BertModel(
        transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    ).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"\(bert\) is no image classifier"):
        model_source(f"hf:{tmp_path}")


def test_weights_without_a_trained_head_are_refused(tmp_path):
    source = model_source(saved(tmp_path, VIT, build=transformers.ViTModel))
    with pytest.raises(ModelError, match=r"lack classifier.bias, classifier.weight; name a model that was trained"):
        source.build(10)


def test_pickled_weights_are_never_read(tmp_path):
    source = model_source(saved(tmp_path, VIT))
    network = source.build(10)
    (tmp_path / "model.safetensors").unlink()
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"cannot be loaded \(.*safetensors.*with config.json and model.safetensors"):
        model_source(source.name).build(10)


def test_code_beside_the_weights_is_never_run(tmp_path):
    model = saved(tmp_path, VIT)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    with pytest.raises(ModelError, match="cannot be read"):
        model_source(model)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("weights", ["random", "fitted", "imagenet"])
def test_other_weights_by_name_are_refused(vit, weights):
    with pytest.raises(ConfigError, match="comes with its own weights; leave --weights out, or name a file"):
        prepare(RunConfig(model=vit, weights=weights))


@pytest.mark.parametrize("place", ["", "./nowhere", "/no/where", "a/b/c"])
def test_a_place_that_is_none_is_refused(place):
    with pytest.raises(ModelError, match="write hf:FOLDER, or hf:OWNER/NAME of the hub"):
        model_source(f"hf:{place}")


def test_a_name_of_the_hub_that_cannot_be_had_is_refused_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"^model: hf:owner/no-such-name cannot be read \(.*\); name a folder or"):
        model_source("hf:owner/no-such-name")


def test_where_transformers_is_not_installed_the_way_out_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"transformers is not installed; pip install 'psi-tui\[hf\]'"):
        model_source("hf:owner/name")
