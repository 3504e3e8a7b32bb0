"""The step on fake CUDA tensors: every tensor is on the device, none is copied to the host, which would wait, and
launches and traffic are bounded. With the kernels, whose launches are counted and not made, and without. Another device
is the current one: kernels are launched where their tensors lie.
"""

from contextlib import contextmanager
from importlib import import_module

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from psi_core.conditions import ATTACKS
from psi_core.config import RunConfig
from psi_core.engine.images import network_inputs
from psi_core.engine.measure.step import FusedStep
from psi_core.engine.preparation import prepare
from psi_core.engine.work.chunk_maker import make_chunk_maker
from psi_core.measures import MEASURE_NAMES, MEASURES

BATCH = 4
CHEAP = [row.name for row in MEASURES.values() if not row.costs_a_pass]
EVERY = {
    "attack": [row.name for row in ATTACKS if not row.is_control],
    "controls": [row.name for row in ATTACKS if row.is_control],
    "measures": CHEAP,
    "epsilon": "0.03",
}
FEW = {**EVERY, "attack": ["fgsm"], "controls": ["sign-noise", "gaussian"], "size": 32}

OF_A_CONDITION, OF_A_LAYER, WITH_COSTLY, WITH_KERNELS = 75, 24, 72, 5
"""Launches besides the network's forwards: of a condition, and of each of its layers with cheap measures, with all, and
with the kernels that take all sums in one."""

MOST_BYTES = 30
"""Read and written for each response of four bytes besides the forwards, in large maps, without kernels."""

KERNELS = {
    "one_pass": ("_sum_tiles", "_add_tiles"),
    "pooling": ("_pool_tiles",),
    "steps": ("_step_tiles", "_norm_tiles", "_ready_tiles", "_gaussian_images"),
}
USERS = (
    "attacks.attacks",
    "attacks.controls",
    "attacks.gradients",
    "measure.reducer",
    "measure.step",
    "stand_ins.pooling",
)


class Launches(TorchDispatchMode):
    """Counts operations on CUDA, views left out, their bytes, and what is copied from there to the host."""

    def __init__(self):
        super().__init__()
        self.count, self.bytes, self.to_host = 0, 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        read, made = ([each for each in tree_leaves(part) if isinstance(each, torch.Tensor)] for part in (args, found))
        known = {each.untyped_storage()._cdata for each in read}
        is_view = bool(made) and all(each.untyped_storage()._cdata in known for each in made)
        is_launch = (not is_view or func._schema.is_mutable) and "empty" not in func.__name__
        if is_launch and any(each.device.type == "cuda" for each in made):
            self.add([*read, *made])
        if any(each.device.type == "cuda" for each in read) and any(each.device.type == "cpu" for each in made):
            self.to_host.append(str(func))
        return found

    def add(self, tensors):
        self.count += 1
        self.bytes += sum(each.numel() * each.element_size() for each in tensors)


class Kernel:
    """Stands for a kernel of triton's, which runs on the thread's current device: its launches are counted."""

    def __init__(self):
        self.launches, self.current = None, 1

    def __getitem__(self, _grid):
        return self.launch

    def launch(self, *arguments, **_options):
        tensors = [*{id(each): each for each in arguments if isinstance(each, torch.Tensor)}.values()]
        assert all(each.device == torch.device("cuda", self.current) for each in tensors)
        self.launches.add(tensors)

    @contextmanager
    def on(self, device):
        before, self.current = self.current, torch.device(device).index
        yield
        self.current = before


@pytest.fixture
def kernels(monkeypatch):
    """Lets the step take the kernels of a GPU."""
    pytest.importorskip("triton")
    kernel = Kernel()
    for module, names in KERNELS.items():
        for name in names:
            monkeypatch.setattr(f"psi_core.engine.kernels.{module}.{name}", kernel)
    for module in USERS:
        monkeypatch.setattr(
            f"psi_core.engine.{module}.kernels_for",
            lambda values, name: import_module(f"psi_core.engine.kernels.{name}") if values.is_cuda else None,
        )
    monkeypatch.setattr(torch.cuda, "current_device", lambda: kernel.current)
    monkeypatch.setattr(torch.cuda, "device", kernel.on)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)  # Fake tensors lie on cuda:0 then.
    return kernel


def onto_fake_cuda(model):
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, each in tensors.items():
                if each is not None:
                    moved = torch.empty_strided(each.size(), each.stride(), dtype=each.dtype, device="cuda")
                    tensors[name] = nn.Parameter(moved, requires_grad=False) if name in module._parameters else moved
    return model


class Tokens(nn.Module):
    """A transformer and a mixer: patches, attention, products along tokens and along channels."""

    input_size = (3, 16, 16)

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.mix, self.back = nn.Linear(16, 12), nn.Linear(12, 16)
        self.head = nn.Linear(8, 10)

    def forward(self, images):
        x = self.norm(self.patches(images).flatten(2).mT)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.back(F.relu(self.mix(x.mT))).mT
        return self.head(F.relu(x).mean(1))


class Last(nn.Module):
    """Channels last, as ConvNeXt and Swin have them."""

    input_size = (3, 16, 16)

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.wide, self.narrow, self.head = nn.Linear(8, 32), nn.Linear(32, 8), nn.Linear(8, 10)

    def forward(self, images):
        x = self.norm(self.stem(images).permute(0, 2, 3, 1))
        return self.head(F.relu(x + self.narrow(F.relu(self.wide(x)))).mean((1, 2)))


class Viewed(nn.Module):
    """Runs only where images lie plainly in memory."""

    input_size = (1, 12, 12)

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 6, 3), nn.GroupNorm(2, 6), nn.Linear(600, 10)

    def forward(self, images):
        return self.head(F.relu6(self.norm(F.relu(self.conv(images)))).view(len(images), -1))


class Rows(nn.Module):
    """Reads rows one after another."""

    input_size = (1, 6, 6)

    def __init__(self):
        super().__init__()
        self.inward, self.back, self.head = nn.Linear(6, 9), nn.Linear(9, 9), nn.Linear(9, 10)

    def forward(self, images):
        state = images.new_zeros(len(images), 9)
        for row in images[:, 0].unbind(1):
            state = F.relu(self.inward(row) + self.back(state))
        return self.head(state)


class OneLogit(nn.Module):
    """Gives the sigmoid of one logit."""

    input_size = (1, 8, 8)

    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(64, 12), nn.Linear(12, 1)

    def forward(self, images):
        hidden = self.hidden(images.flatten(1).relu() - 0.1).clamp(min=0)
        return torch.sigmoid(self.head(hidden))


class Cubes(nn.Module):
    """Three-dimensional maps, and a product with parameters of five axes."""

    input_size = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv, self.route = nn.Conv3d(1, 2, 3, padding=1), nn.Parameter(torch.randn(1, 2, 3, 8, 8))
        self.head = nn.Linear(384, 10)

    def forward(self, images):
        return self.head(F.relu(F.relu(self.conv(images.unsqueeze(1))) * self.route).flatten(1))


HERE, SMALL = __name__, "tests.engine.networks"
NETWORKS = {
    "lenet5": {**EVERY, "measures": MEASURE_NAMES, "weights": "random"},
    f"{SMALL}:Functional": {**EVERY, "size": 8, "labels": "predicted"},
    f"{SMALL}:perceptron": {**EVERY, "size": 8, "labels": "predicted", "target": "random"},
    f"{HERE}:Tokens": {**EVERY, "unit": "token", "layers": "relu,patches", "rectify": "abs"},
    f"{HERE}:Last": {**EVERY, "unit": "channel"},
    f"{HERE}:Viewed": {**EVERY, "loss": "cross-entropy"},
    f"{HERE}:Rows": EVERY,
    f"{HERE}:OneLogit": {**EVERY, "labels": "predicted"},
    f"{HERE}:Cubes": {**EVERY, "measures": MEASURE_NAMES, "layers": "all", "rectify": "abs"},
    "torchvision:resnet18": {**FEW, "weights": "random"},
    "torchvision:squeezenet1_1": {**FEW, "weights": "random", "layers": "all", "rectify": "abs"},
    "torchvision:mobilenet_v3_small": {**FEW, "weights": "random", "rectify": "relu"},
}
"""Twelve networks, and the options of their runs."""

LARGE = {"torchvision:resnet18": 2, "torchvision:squeezenet1_1": 9}
"""Networks of large maps, and as MOST_BYTES with kernels: where a ReLU is made with its sums, next to nothing is."""

FITTING = (*LARGE, "torchvision:mobilenet_v3_small", "lenet5", f"{SMALL}:perceptron")
"""Networks whose layers lie as the kernels read them."""


def planned(model, has_kernels):
    """The plan of a run, on the CPU, and its images' size in pixels."""
    options = {"device": "cpu", "threads": 1, "images": BATCH, "batch": BATCH, "steps": 2, **NETWORKS[model]}
    if has_kernels:
        options["measures"] = CHEAP  # Others read every response once more.
    else:  # Without kernels it asks the device how far noise of a given L2 is.
        options["controls"] = [name for name in options["controls"] if name != "gaussian"]
    prepared = prepare(RunConfig(model=model, **options))
    return make_chunk_maker(prepared.config, prepared, prepared.config.device).plan, prepared.config.size


@pytest.mark.parametrize("has_kernels", [False, True])
@pytest.mark.parametrize("model", NETWORKS)
def test_a_step_never_leaves_the_device(model, has_kernels, monkeypatch, request):
    kernel = request.getfixturevalue("kernels") if has_kernels else None
    # Backward needs a real device; its operations are the network's own.
    monkeypatch.setattr(torch.autograd, "grad", lambda _loss, inputs, **_: (torch.empty_like(inputs),))
    (plan, size), forwards = planned(model, has_kernels), []
    plan.model.register_forward_pre_hook(lambda *_: forwards.append(None))
    with FakeTensorMode(allow_non_fake_inputs=True):
        onto_fake_cuda(plan.model)
        inputs = network_inputs(torch.empty(BATCH, 28, 28, dtype=torch.uint8, device="cuda"), size, plan.trace.channels)
        labels = torch.empty(BATCH, dtype=torch.int64, device="cuda")
        with Launches() as plain, torch.no_grad():
            plan.model(inputs)
        forwards.clear()
        with Launches() as launches:
            if kernel is not None:
                kernel.launches = launches
            result = FusedStep(plan)(inputs, labels, labels)
    assert result.values.device.type == result.labels.device.type == "cuda"
    assert result.values.shape == (plan.layout.rows, BATCH)
    assert launches.to_host == plain.to_host == []
    assert kernel is None or kernel.current == 1
    conditions, layers = len(plan.conditions), len(plan.layers)
    of_a_layer = WITH_COSTLY if set(plan.measures) > set(CHEAP) else OF_A_LAYER
    if has_kernels and model in FITTING:
        of_a_layer = WITH_KERNELS
    own = launches.count - len(forwards) * plain.count
    assert own < conditions * (OF_A_CONDITION + layers * of_a_layer), own / conditions
    responses = BATCH * conditions * sum(torch.Size(call.shape).numel() for call in plan.layers)
    traffic = (launches.bytes - len(forwards) * plain.bytes) / responses
    assert model not in LARGE or traffic < (LARGE[model] if has_kernels else MOST_BYTES), traffic
