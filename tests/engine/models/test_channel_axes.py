"""Channel axes: found for every layout that networks use, named where they are not, and followed by every number."""

import json

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torchvision.models.convnext import CNBlockConfig

from psi_core import RunConfig
from psi_core.engine import SparsenessMeter, analyze
from psi_core.engine.ablation.masking import masked_logits
from psi_core.engine.answers import layer_rows
from psi_core.engine.images import load_dataset, read_inputs
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.layers import axis_notes, describe_layers, select_calls, trace_network, with_named_axes
from psi_core.engine.preparation import prepare
from psi_core.engine.work.worker import Worker
from psi_core.errors import ModelError
from psi_core.runs.chunks import chunk_path
from psi_core.runs.run import Run
from psi_core.runs.trust import trust
from psi_tui.text.models import CHANNEL_AXIS
from tests.engine.measure.test_compiled_step import arrays_of, assert_equal, makers_of
from tests.engine.measure.test_step import small
from tests.engine.networks import images_of, seeded
from tests.engine.processes import assert_same_results
from tests.recorded import make_older

NETWORKS = {
    "vit": lambda: torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5),
    "swin": lambda: torchvision.models.SwinTransformer([4, 4], 8, [2, 2], [1, 2], [4, 4], num_classes=5),
    "swin v2": lambda: torchvision.models.swin_transformer.SwinTransformer(
        *([4, 4], 8, [1, 1], [1, 2], [4, 4]),
        num_classes=5,
        block=torchvision.models.swin_transformer.SwinTransformerBlockV2,
        downsample_layer=torchvision.models.swin_transformer.PatchMergingV2,
    ),
    "convnext": lambda: torchvision.models.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], 0.0, 1.0, 5),
    "timm's vit": lambda: timm.models.VisionTransformer(32, 8, embed_dim=24, num_heads=3, depth=1, num_classes=5),
    "timm's mixer": lambda: timm.models.MlpMixer(5, 32, patch_size=8, embed_dim=24, num_blocks=1),
    "timm's swin": lambda: timm.models.SwinTransformer(
        32, 2, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4, num_classes=5
    ),
    "timm's convnext": lambda: timm.models.ConvNeXt(
        num_classes=5, depths=(1, 1, 1, 1), dims=(8, 8, 8, 16), conv_mlp=False, ls_init_value=None
    ),
    "encoder": lambda: nn.Sequential(
        nn.Unflatten(2, (8, 4)), nn.Flatten(3), nn.Flatten(1, 2), nn.Linear(128, 16),
        nn.TransformerEncoderLayer(16, 2, 24, batch_first=True), nn.Flatten(), nn.Linear(24 * 16, 5),
    ),
}  # fmt: skip


def outputs_of(network, images):
    """Every leaf's output of one plain forward by path, and the leaves that took another's output as it was."""
    kept, sources, followers = {}, {}, {}

    def keep(path, inputs, output):
        if path not in kept and isinstance(output, torch.Tensor):
            followers[path] = sources.get(id(inputs[0]))
            sources[id(output)], kept[path] = path, output

    handles = [
        module.register_forward_hook(lambda _m, inputs, output, path=path: keep(path, inputs, output))
        for path, module in network.named_modules()
        if not any(module.children())
    ]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return kept, followers


@pytest.mark.parametrize("name", NETWORKS)
def test_a_bias_moves_one_place_along_the_channel_axis(name):
    """What makes a channel: one parameter moves it, at every position, and moves no other."""
    network = seeded(NETWORKS[name]).eval()
    images = images_of(2, 3, 32)
    calls = {call.path: call for call in trace_network(network, 3, 32).calls}
    before, followers = outputs_of(network, images)
    seen = 0
    for path, module in network.named_modules():
        if getattr(module, "bias", None) is None or path not in before or not calls[path].is_per_image:
            continue
        bias = module.bias.detach().clone()
        with torch.no_grad():
            module.bias[1] += 1
            after, _ = outputs_of(network, images)
            module.bias.copy_(bias)
        follows = [each for each, source in followers.items() if source == path]
        for each in (path, *(e for e in follows if isinstance(network.get_submodule(e), nn.GELU | nn.ReLU))):
            call, moved = calls[each], before[each] != after[each]
            assert call.is_axis_known
            by_channel = moved.movedim(call.channel_axis, 0).flatten(1)
            assert by_channel.any(1).nonzero().flatten().tolist() == [1], each
            assert by_channel[1].double().mean() > 0.9
            seen += 1
    assert seen >= 4


class Forward(nn.Module):
    """A network of one function of features (batch, 6, 4, 5) out of a convolution."""

    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, (5, 4))
        self.weight = nn.Parameter(torch.rand(6, 7))
        self.linear = nn.Linear(5, 9)
        self.function = function

    def forward(self, images):
        features = self.function(self, self.conv(images))
        return features.flatten(1)[:, :3]


def rows(features):
    """(batch, 20, 6), as a vision transformer's patches."""
    return features.flatten(2).transpose(1, 2)


AXES = {
    "maps": (lambda net, x: F.relu(x), 1),
    "maps last": (lambda net, x: x.permute(0, 2, 3, 1).relu(), 3),
    "moved twice": (lambda net, x: x.movedim(1, -1).swapaxes(1, 3).relu(), 1),
    "tokens": (lambda net, x: rows(x).relu(), 2),
    "tokens in windows": (lambda net, x: x.permute(0, 2, 3, 1).reshape(-1, 2, 2, 5, 6).relu(), 4),
    "a class token": (lambda net, x: torch.cat([torch.zeros(len(x), 1, 6), rows(x)], 1).relu(), 2),
    "some tokens": (lambda net, x: rows(x)[:, 3:9].relu(), 2),
    "masked tokens": (lambda net, x: rows(x)[:, torch.arange(20) > 7].relu(), 2),
    "one axis more": (lambda net, x: rows(x)[:, None].relu(), 3),
    "one axis less": (lambda net, x: x.permute(0, 2, 3, 1)[:, 1].relu(), 2),
    "a mean over rows": (lambda net, x: x.mean(2).relu(), 1),
    "a mean over rows, channels last": (lambda net, x: x.permute(0, 2, 3, 1).mean(dim=1).relu(), 2),
    "half of the channels": (lambda net, x: rows(x).chunk(2, -1)[0].relu(), 2),
    "gated": (lambda net, x: (rows(x) * rows(x).mean(1, keepdim=True)).relu(), 2),
    "pooled": (lambda net, x: F.relu(F.max_pool2d(x, 2)), 1),
    "shuffled": (lambda net, x: x.view(-1, 2, 3, 4, 5).transpose(1, 2).reshape(x.shape).relu(), 1),
    "heads, joined again": (lambda net, x: attention(rows(x)).relu(), 2),
    "scores by head": (lambda net, x: scores(rows(x)), 1),
    "times a matrix": (lambda net, x: (rows(x) @ net.weight).relu(), 2),
    "a matrix times": (lambda net, x: (net.weight.T @ x.flatten(2)).relu(), 1),
    "einsum": (lambda net, x: torch.einsum("bchw, cd -> bdhw", x, net.weight).relu(), 1),
    "einsum last": (lambda net, x: torch.einsum("bchw,cd->bhwd", x, net.weight).relu(), 3),
    "a matrix along the last axis of maps": (lambda net, x: net.linear(x).relu(), 3),
    "normalized over all but the batch": (lambda net, x: F.layer_norm(x, x.shape[1:]).relu(), 1),
    "in place": (lambda net, x: x.transpose_(1, 3).relu_(), 3),
    "flat": (lambda net, x: x.flatten(1).relu(), 1),
    "made outside, told by its length": (lambda net, x: outside(x.permute(0, 2, 3, 1)).relu(), 3),
}


def outside(features):
    """The same, by a way that torch does not see."""
    return torch.tensor(features.tolist())


def heads(tokens):
    return tokens.unflatten(2, (2, 3)).transpose(1, 2)


def scores(tokens):
    return (heads(tokens) @ heads(tokens).transpose(-1, -2)).softmax(-1)


def attention(tokens):
    return (scores(tokens) @ heads(tokens)).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("name", AXES)
def test_the_axis_is_carried_along(name):
    function, expected = AXES[name]
    calls = trace_network(Forward(function), 1, 8).calls
    activation = [call for call in calls if call.is_nonnegative][-1]
    assert (activation.channel_axis, activation.is_axis_known) == (expected, True)


def test_an_axis_that_cannot_be_told_is_taken_to_be_1_and_said_and_can_be_named():
    # Two axes are as long as the last features.
    network = Forward(lambda net, x: outside(x.permute(0, 2, 3, 1)[:, :, :1].expand(-1, -1, 6, -1)).relu())
    calls = select_calls(trace_network(network, 1, 8), ["relu"], "none", "mine")
    assert [(call.channel_axis, call.is_axis_known, call.channels) for call in calls] == [(1, False, 4)]
    (note,) = axis_notes(calls)
    assert note.startswith("layers: where the channels of relu lie cannot be told; axis 1 is taken")
    assert "--channel-axis relu=AXIS" in note
    for text, axis in (("relu=3", 3), ("r*=-1", 3), ("=relu=2", 2)):
        named = with_named_axes(calls, [text])
        assert [(call.channel_axis, call.channels) for call in named] == [(axis, 6)]
        assert not axis_notes(named)
    assert [call.channel_axis for call in with_named_axes(calls, ["relu=2", "*=3"])] == [3]
    with pytest.raises(ModelError, match=r"relu gives 4 axes, the first of images, .*write 1 to 3"):
        with_named_axes(calls, ["relu=4"])
    with pytest.raises(ModelError, match="channel_axis: there is no 'rely'; did you mean 'relu'"):
        with_named_axes(calls, ["rely=2"])


def test_the_axis_is_shown_last_and_a_guess_bears_a_question_mark(place):
    found = layer_rows(f"{place}/mine.py:convnext", 32, "features.1.0.block.*")
    assert [row["channel_axis"] for row in found] == [1, 3, 3, 3, 3, 3, 1]
    assert [CHANNEL_AXIS.cell(row) for row in found] == list("1333331")
    assert CHANNEL_AXIS.cell({**found[0], "is_axis_known": False}) == "1?"


FACTORY = """
import torchvision
from torchvision.models.convnext import CNBlockConfig

def vit():
    return torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10)

def convnext():
    return torchvision.models.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], 0.0, 1.0, 10)
"""
"""A layer scale of 1: the usual 1e-6 hides the blocks."""
IMAGES = 7
LAYERS = {"vit": "encoder.layers.*.mlp.1", "convnext": "features.[13].0.block.4"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text(FACTORY)
    return folder


def values_of(place, name, **options):
    return {
        **{"model": f"{place}/mine.py:{name}", "layers": LAYERS[name], "rectify": "relu", "size": 32, "seed": 3},
        **{"images": IMAGES, "batch": 3, "chunk": 4, "controls": "none", "epsilon": 0.05, "threads": 1},
        **options,
    }


def by_hand(config, positions):
    """Float64 responses (image, channel, position) of each layer to benign images, from plain hooks."""
    prepared = prepare(config)
    network = prepared.classifier.network
    inputs = read_inputs(load_dataset("mnist", "test"), positions, 32, 3, prepared.config.device)
    kept = []
    handles = [
        network.get_submodule(call.path).register_forward_hook(lambda _m, _i, output: kept.append(output.double()))
        for call in prepared.calls
    ]
    with torch.no_grad():
        prepared.classifier(inputs)
    for handle in handles:
        handle.remove()
    assert all(output.shape[-1] == call.channels for output, call in zip(kept, prepared.calls, strict=True))
    return [output.relu().movedim(-1, 1).flatten(2) for output in kept]


def psi_of(units):
    share = units.mean(1).square() / units.square().mean(1)
    return (1 - share) / (1 - 1 / units.shape[1])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("unit", ["neuron", "channel", "token"])
def test_units_and_class_sums_equal_plain_hooks_in_float64(name, unit, place, tmp_path):
    config = RunConfig(**values_of(place, name, unit=unit))
    run = analyze(config, tmp_path)
    for layer, at, responses in zip(run.layer_infos, range(9), by_hand(config, run.index), strict=False):
        assert layer.channel_axis == len(layer.shape)
        assert layer.channels == responses.shape[1] == layer.shape[-1]
        means = responses.mean(2)
        units = {"neuron": responses.flatten(1), "channel": means, "token": responses.mean(1)}[unit]
        assert layer.units == units.shape[1]
        np.testing.assert_allclose(run.psi[0, at], psi_of(units), atol=2e-6, rtol=0)
        labels, _, sums = run.class_sums(layer.name)
        expected = np.stack([means[run.labels == label].sum(0) for label in labels])
        np.testing.assert_allclose(sums[0], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(run.square_sums(layer.name)[0], means.square().sum(0), rtol=1e-5, atol=1e-6)


def test_a_run_may_name_the_axis_and_an_older_one_resumes_with_axis_1(place, tmp_path):
    named = analyze(RunConfig(**values_of(place, "vit", channel_axis="*.mlp.1=1", unit="channel")), tmp_path)
    assert [(layer.channel_axis, layer.channels, layer.units) for layer in named.layer_infos] == 2 * [(1, 17, 17)]
    assert named.class_sums(named.layers[0])[2].shape[-1] == 17
    # As an older version left it: nothing says where channels lie, and a chunk is missing.
    older = tmp_path / "older"
    older.mkdir()
    for file in named.directory.rglob("*"):
        copy = older / file.relative_to(named.directory)
        copy.mkdir(exist_ok=True) if file.is_dir() else copy.write_bytes(file.read_bytes())
    make_older(older)
    (older / "model.json").unlink()
    layers = json.loads((older / "layers.json").read_text())
    assert [layer.pop("channel_axis") for layer in layers] == [1, 1]
    (older / "layers.json").write_text(json.dumps(layers))
    config = json.loads((older / "config.json").read_text())
    assert config.pop("channel_axis") == ["*.mlp.1=1"]
    (older / "config.json").write_text(json.dumps(config))
    chunk_path(older, 1).unlink()
    assert Run(older).layer_infos == named.layer_infos
    trust(Run(older))  # It is a network of somebody's file.
    Worker(older).work()
    assert_same_results(older, named.directory)


def test_a_compiled_step_follows_the_axes_too():
    network = seeded(lambda: torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10))
    options = {"layers": (LAYERS["vit"],), "rectify": "relu", "unit": "token"}
    eager, compiled = makers_of(small(network), load_dataset("mnist", "test"), 32, **options)
    assert_equal(arrays_of(compiled), arrays_of(eager))


@pytest.mark.parametrize("unit", ["channel", "token"])
def test_a_meter_in_a_notebook_follows_the_axes_too(unit):
    network, images = seeded(NETWORKS["convnext"]).eval(), images_of(4, 3, 32)
    layers = ["features.0.0", "features.1.0.block.4"]
    kept = [network.get_submodule(each).register_forward_hook(lambda _m, _i, o: outputs.append(o)) for each in layers]
    outputs = []
    with torch.no_grad(), SparsenessMeter(network, layers, unit=unit, rectify="abs") as meter:
        for part in images.split(3):
            network(part)
    for handle in kept:
        handle.remove()
    for at, axis in enumerate((1, 3)):
        responses = torch.cat(outputs[at::2]).double().abs().movedim(axis, 1).flatten(2)
        torch.testing.assert_close(
            meter.psi[layers[at]], psi_of(responses.mean(2 if unit == "channel" else 1)), atol=2e-6, rtol=0
        )


def test_a_meter_refuses_tokens_where_there_are_none():
    network = seeded(NETWORKS["vit"]).eval()
    with (
        pytest.raises(ModelError, match=r"heads\.head gives one response a channel and so has no tokens"),
        SparsenessMeter(network, ["heads.head"], unit="token", rectify="abs"),
    ):
        network(images_of(2, 3, 32))


def test_a_layer_without_tokens_is_refused_for_the_unit_token(place):
    trace = trace_network(seeded(NETWORKS["vit"]), 3, 32)
    flat = select_calls(trace, ["heads.head"], "abs", "vit")
    with pytest.raises(ModelError, match=r"unit: heads\.head gives one response a channel and so has no tokens"):
        describe_layers(flat, "token")


def test_masks_follow_the_channel_axis():
    network = seeded(NETWORKS["vit"])
    nn.init.eye_(network.heads.head.weight)  # It begins with zeros.
    model = Classifier(network, (0.0,), (1.0,)).eval().requires_grad_(False)
    trace = trace_network(model.network, 3, 32)
    (call,) = select_calls(trace, ["encoder.layers.encoder_layer_1.mlp.1"], "abs", "vit")
    keep = torch.rand(3, 32, generator=torch.Generator().manual_seed(1)) < 0.5
    images = images_of(3, 3, 32)
    with torch.inference_mode():
        found = masked_logits(model, call, trace.owners, images, keep)
    layer = model.network.get_submodule(call.path)
    handle = layer.register_forward_hook(lambda _m, _i, output: output * keep[:, None])
    with torch.inference_mode():
        expected = model(images)
    handle.remove()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)  # Without taps torch takes a faster attention.
    assert (found - model(images)).abs().max() > 0.01
