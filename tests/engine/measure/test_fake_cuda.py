"""The step on fake CUDA tensors: every tensor is on the device, and none is copied to the host, which would wait."""

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from psi_core.conditions import ATTACKS
from psi_core.config import RunConfig
from psi_core.engine.images import network_inputs
from psi_core.engine.measure.step import FusedStep
from psi_core.engine.preparation import prepare
from psi_core.engine.work.chunk_maker import make_chunk_maker
from psi_core.measures import MEASURE_NAMES

BATCH = 4
ATTACKING = [row.name for row in ATTACKS if not row.is_control]
CONTROLS = [row.name for row in ATTACKS if row.is_control and not row.copies_l2]
"""But those scaled to an L2: without the kernels they ask the device how far they are."""


MOST_OPERATIONS = 30
"""Of a layer and condition besides the network's, without the kernels that take all sums in one."""


class Launches(TorchDispatchMode):
    """Counts operations on CUDA, views left out, and what is copied from there to the host."""

    def __init__(self):
        super().__init__()
        self.count, self.to_host = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        read, made = ([each for each in tree_leaves(part) if isinstance(each, torch.Tensor)] for part in (args, found))
        known = {each.untyped_storage()._cdata for each in read}
        is_view = bool(made) and all(each.untyped_storage()._cdata in known for each in made)
        is_launch = not is_view or func._schema.is_mutable
        self.count += is_launch and any(each.device.type == "cuda" for each in made)
        if any(each.device.type == "cuda" for each in read) and any(each.device.type == "cpu" for each in made):
            self.to_host.append(str(func))
        return found


def onto_fake_cuda(model):
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, each in tensors.items():
                if each is not None:
                    moved = torch.empty_strided(each.size(), each.stride(), dtype=each.dtype, device="cuda")
                    tensors[name] = nn.Parameter(moved, requires_grad=False) if name in module._parameters else moved
    return model


def gradient_on_fake_cuda(monkeypatch):
    """Backward needs a real device; its operations are the network's own."""
    monkeypatch.setattr(torch.autograd, "grad", lambda _loss, inputs, **_: (torch.empty_like(inputs),))


FEW = {"attack": "fgsm", "controls": "sign-noise", "measures": "psi", "epsilon": "0.03"}


@pytest.mark.parametrize(
    "options",
    [
        {"model": "lenet5"},
        {"model": "lenet5", "target": "random", "labels": "predicted"},
        {"model": "torchvision:resnet18", "size": 32, **FEW},
        {"model": "torchvision:resnet18", "size": 32, "layers": "all", "rectify": "abs", "unit": "channel", **FEW},
    ],
)
def test_a_step_never_leaves_the_device(options, monkeypatch):
    gradient_on_fake_cuda(monkeypatch)
    every = {"attack": ATTACKING, "controls": CONTROLS, "measures": MEASURE_NAMES, "epsilon": "0,0.03"}
    config = RunConfig(
        **{"weights": "random", "device": "cpu", "threads": 1, "images": BATCH, "batch": BATCH, "steps": 2},
        **{**every, **options},
    )
    prepared = prepare(config)
    plan = make_chunk_maker(prepared.config, prepared, prepared.config.device).plan
    with FakeTensorMode(allow_non_fake_inputs=True):
        onto_fake_cuda(plan.model)
        pixels = torch.empty(BATCH, 28, 28, dtype=torch.uint8, device="cuda")
        inputs = network_inputs(pixels, prepared.config.size, plan.trace.channels)
        labels = torch.empty(BATCH, dtype=torch.int64, device="cuda")
        with Launches() as plain, torch.no_grad():
            plan.model(inputs)
        with Launches() as launches:
            result = FusedStep(plan)(inputs, labels, labels)
    assert result.values.device.type == result.labels.device.type == "cuda"
    assert result.values.shape == (plan.layout.rows, BATCH)
    assert launches.to_host == []
    if "attack" in options:  # Each of its forwards measures: what is beyond them is the step's own.
        conditions, layers = len(plan.conditions), len(plan.layers)
        own = (launches.count - conditions * plain.count) / (conditions * layers)
        assert own < MOST_OPERATIONS, own
