"""torchvision's classifiers: each family runs at a small size with every ReLU seen, or is refused with the way out."""

import pytest
import torch
import torchvision

from psi_core import RunConfig
from psi_core.engine import analyze
from psi_core.engine.models.layers import select_calls, trace_network
from psi_core.engine.models.sources import model_source, normalization, resolved_normalization
from psi_core.engine.preparation import prepare
from psi_core.errors import ModelError

NAMES = torchvision.models.list_models(module=torchvision.models)

_HEAVY = ("regnet_x_16gf", "regnet_x_32gf", "regnet_x_8gf", "regnet_y_128gf", "regnet_y_16gf", "regnet_y_32gf")
"""RegNets cannot be built without memory for their weights; these take seconds, and differ in width alone."""

_QUICKEST = {
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3"),
    *("maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18"),
    *("resnet50", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_0", "squeezenet1_1", "swin_t", "swin_v2_t"),
    *("vgg11", "vgg11_bn", "vit_b_16", "wide_resnet50_2"),
}
"""One of each kind of block; the others have more of the same blocks, or wider ones."""

_SMALLEST = {"alexnet": 63, "inception_v3": 75}
_WITHOUT_RELU = ("convnext", "efficientnet", "maxvit", "swin", "vit")


def traced(name, size):
    with torch.device("meta"):
        network = model_source(f"torchvision:{name}").build(10).eval()
    return network, trace_network(network, 3, size)


@pytest.mark.parametrize(
    "name",
    [name if name in _QUICKEST else pytest.param(name, marks=pytest.mark.long) for name in NAMES if name not in _HEAVY],
)
def test_each_runs_at_a_small_size_with_every_relu_seen_or_is_refused_with_the_way_out(name):
    source = model_source(f"torchvision:{name}")
    size = source.input_size(max(source.smallest, _SMALLEST.get(name, 32)))
    network, trace = traced(name, size)
    assert trace.classes == 10
    if name.startswith(_WITHOUT_RELU):
        with pytest.raises(ModelError, match=f"layers: {name} calls no ReLU; .*{name} --all.*--layers NAMES --rectify"):
            select_calls(trace, ["relu"], "none", name)
        assert len(select_calls(trace, ["all"], "abs", name)) > 10
        return
    relus = select_calls(trace, ["relu"], "none", name)
    assert len({call.path for call in relus}) == len(relus) > 0
    assert {call.kind for call in relus} <= {"ReLU", "ReLU6", "relu"}
    used = {id(module) for module in network.modules() if isinstance(module, torch.nn.ReLU | torch.nn.ReLU6)}
    assert len(relus) >= len(used)


@pytest.mark.parametrize(("name", "size"), [("vit_b_16", 224), ("vit_h_14", 518), ("maxvit_t", 224)])
def test_a_network_of_one_size_takes_no_other(name, size):
    source = model_source(f"torchvision:{name}")
    assert source.input_size(None) == source.input_size(size) == size
    for other in (size - 32, size + 32):
        with pytest.raises(ModelError, match=f"size: torchvision:{name} (needs at least|takes at most) {size} pixels"):
            source.input_size(other)


@pytest.mark.parametrize("name", NAMES)
def test_imagenet_weights_meet_the_pixels_they_were_made_for(name):
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    source = model_source(f"torchvision:{name}")
    found = normalization(resolved_normalization(source, RunConfig(model=f"torchvision:{name}", weights="imagenet")))
    published = (tuple(transforms.mean), tuple(transforms.std))
    assert found == ((3 * (0.5,),) * 2 if name in ("googlenet", "inception_v3") else published)
    assert resolved_normalization(source, RunConfig(model=f"torchvision:{name}", weights="random")) == "imagenet"


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_torchvision_turns_their_input_into_that_range_itself(name):
    build = getattr(torchvision.models, name)
    network = build(aux_logits=False, init_weights=False, transform_input=True)
    pixels = torch.rand(2, 3, 8, 8)
    mean, sd = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    torch.testing.assert_close(network._transform_input((pixels - mean) / sd), (pixels - 0.5) / 0.5, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "layers", "count"),
    [
        ("convnext_tiny", "features.*.block.4", 18),
        pytest.param("efficientnet_b0", "features.?.*.block.0.2", 16, marks=pytest.mark.long),
        pytest.param("swin_v2_t", "features.*.mlp.1", 12, marks=pytest.mark.long),
    ],
)
def test_networks_without_relu_run_with_layers_and_rectify(name, layers, count, tmp_path):
    values = {"model": f"torchvision:{name}", "weights": "random", "size": 32, "images": 3, "layers": layers}
    values["controls"] = "none"
    with pytest.raises(ModelError, match="--rectify relu or --rectify abs"):
        prepare(RunConfig(**values))
    run = analyze(RunConfig(**values, rectify="abs", batch=2), tmp_path)
    assert run.psi.shape == (len(run.conditions), count, 3)
    assert ((run.psi > 0) & (run.psi < 1)).all()


def test_swins_position_biases_are_no_responses_to_an_image():
    _, trace = traced("swin_v2_t", 32)
    biases = [call for call in trace.calls if call.is_relu]
    assert len(biases) == 12
    assert not any(call.is_per_image for call in biases)
    with pytest.raises(ModelError, match="does not give a row of responses per image; leave it out"):
        select_calls(trace, [biases[0].name], "none", "swin_v2_t")
