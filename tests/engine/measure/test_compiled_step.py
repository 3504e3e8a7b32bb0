"""The compiled step against the eager one: the same numbers, whatever is measured; refusals; nothing left behind.

All but the last test leave the graph to a backend that compiles nothing: inductor takes seconds.
"""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from psi_core import RunConfig
from psi_core.conditions import conditions_of
from psi_core.devices import CPU
from psi_core.engine import analyze
from psi_core.engine.attacks.attacks import Iteration
from psi_core.engine.attacks.perturbations import Perturbations
from psi_core.engine.images import load_dataset
from psi_core.engine.measure import compiled_step
from psi_core.engine.measure.compiled_step import CompiledStep
from psi_core.engine.measure.step import FusedStep
from psi_core.engine.models.classifier import torch_format
from psi_core.engine.models.sources import build_classifier, model_source
from psi_core.engine.precision import precision
from psi_core.engine.preparation import prepare
from psi_core.errors import ModelError, RunError
from psi_core.measures import MEASURES
from tests.engine.measure.test_step import CONDITIONS, maker_of, reference_of, require_equal, small
from tests.engine.networks import Fickle, Functional, perceptron, seeded
from tests.engine.processes import events

IMAGES, BATCH = 8, 3
PLAIN = Perturbations(CONDITIONS, seed=5)
MANY = conditions_of(["fgsm", "fgm-l2", "pgd"], [0.0, 0.1], ["sign-noise", "gaussian", "shuffled-fgsm"])


@pytest.fixture(scope="module")
def digits():
    return load_dataset("mnist", "test")


@pytest.fixture(scope="module")
def lenet():
    return seeded(lambda: build_classifier(model_source("lenet5"), 10, "0.1307/0.3081")).eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def forgotten():
    """Graphs of other tests do not count."""
    torch._dynamo.reset()
    counters.clear()


def makers_of(
    classifier, digits, size, *, backend="eager", measures=("psi", "active_fraction", "mean_response"), **options
):
    """One that runs eagerly, and one that compiles."""
    pair = [maker_of(classifier, digits, size, batch=BATCH, **options) for _ in range(2)]
    plan = replace(pair[0].plan, measures=measures)
    for maker, step in zip(pair, (FusedStep(plan), CompiledStep(plan, CPU, BATCH, backend=backend)), strict=True):
        maker.step, maker.plan = step, plan
    return pair


def arrays_of(maker, images=IMAGES):
    return maker.make(np.arange(images), lambda chunk: None, lambda before, after: None)


def assert_equal(ours, theirs, accuracy=1e-6):
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype, name
        np.testing.assert_allclose(array, theirs[name], atol=accuracy, rtol=accuracy, err_msg=name)


def test_lenet_is_measured_as_eagerly_and_compiled_twice_only(lenet, digits):
    eager, compiled = makers_of(lenet, digits, 28, backend="aot_eager")
    arrays = arrays_of(compiled)
    assert_equal(arrays, arrays_of(eager))
    assert counters["stats"]["unique_graphs"] == 2  # Of the benign images, and of every other condition.
    unchanged = [condition.name for condition in PLAIN.conditions].index("fgsm@0")
    for name in ("psi", "confidence", "prediction"):
        assert np.array_equal(arrays[name][0], arrays[name][unchanged], equal_nan=True)
    assert not np.signbit(arrays["linf"][unchanged]).any()


def test_a_hostile_network_is_measured_as_by_a_reference_that_stores_everything(digits):
    """In-place and functional ReLUs and a module that is called twice; with filled rows in the last batch."""
    compiled = makers_of(small(seeded(lambda: Functional(10))), digits, 8, unit="channel")[1]
    require_equal(arrays_of(compiled), reference_of(compiled, digits), compiled.plan)


@pytest.mark.parametrize(
    ("perturbations", "options"),
    [
        (Perturbations(MANY, Iteration(2), seed=5), {"uses_predictions": True}),
        (Perturbations(MANY, Iteration(2, is_targeted=True), "random", 5), {"measures": tuple(MEASURES)}),
        (
            Perturbations(CONDITIONS, Iteration(is_targeted=True), "least-likely"),
            {"rectify": "relu", "layers": ["all"]},
        ),
        (Perturbations(CONDITIONS[:1]), {"measures": ("psi",)}),
    ],
    ids=["predicted", "targeted, all measures", "least-likely", "benign alone"],
)
def test_every_attack_control_label_and_measure_is_as_eagerly(digits, perturbations, options):
    eager, compiled = makers_of(small(perceptron(10)), digits, 8, perturbations=perturbations, **options)
    assert_equal(arrays_of(compiled), arrays_of(eager))


@pytest.mark.parametrize("images", [1, 3, 5])
def test_no_number_of_a_filled_row_is_left(digits, images):
    compiled = makers_of(small(perceptron(10)), digits, 8)[1]
    first = compiled._images.read(np.arange(min(images, BATCH)))
    result = compiled.step(*compiled._inputs(first))
    assert result.values.shape[1] == len(result.labels) == len(first)
    assert {len(each) for layers in result.channel_means for each in layers} == {len(first)}
    arrays = arrays_of(compiled, images)
    assert arrays["class_counts"].sum() == images
    means = arrays["mean_response"][:, 0].sum(1) * 12
    np.testing.assert_allclose(arrays["class_sum/2"].sum((1, 2)), means, rtol=1e-6)


def test_external_images_are_filled_up_too(digits):
    condition = conditions_of(["fgsm"], [0.1], [])
    compiled = makers_of(small(perceptron(10)), digits, 8, perturbations=Perturbations(condition))[1]
    images, labels, indices, _ = compiled._inputs(compiled._images.read(np.arange(2)))
    external = (images + 0.5).clamp(0, 1)
    filled = []
    with pytest.MonkeyPatch.context() as patch:
        usual = FusedStep.__call__
        patch.setattr(FusedStep, "__call__", lambda step, *all: filled.extend(all) or usual(step, *all))
        compiled.step(images, labels, indices, external)
    assert [len(each) for each in filled] == [BATCH] * 4
    assert filled[3].tolist() == external[[0, 1, 1]].tolist()


def test_images_that_lie_as_the_first_did_reach_the_graph_uncopied(digits):
    places = []

    def backend(graph, _example):
        def run(*tensors):
            places.append({each.data_ptr() for each in tensors})
            return graph(*tensors)

        return run

    compiled = makers_of(small(perceptron(10)), digits, 8, backend=backend)[1]
    images, *others = compiled._inputs(compiled._images.read(np.arange(BATCH)))
    compiled.step(images, *others)
    changed = images.clone(memory_format=torch_format(compiled.plan.model.memory_format))
    with torch.inference_mode():
        compiled.step.measure(changed, images)
        assert changed.data_ptr() in places[-1]
        for odd in (changed.clone(), changed.mT.contiguous().mT):  # Made in inference mode; in another layout.
            compiled.step.measure(odd, images)
            assert odd.data_ptr() not in places[-1]
    assert counters["stats"]["unique_graphs"] == 2


def test_batches_of_half_the_size_are_compiled_anew(digits, monkeypatch):
    eager, compiled = makers_of(small(perceptron(10)), digits, 8)
    run_batch = FusedStep.__call__

    def run(step, images, labels, indices, external):
        if len(images) > 2 and 3 in indices:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run_batch(step, images, labels, indices, external)

    monkeypatch.setattr(FusedStep, "__call__", run)
    told = []
    ours, theirs = (
        m.make(np.arange(IMAGES), lambda chunk: None, lambda *sizes: told.append(sizes)) for m in (compiled, eager)
    )
    assert told == [(3, 1), (3, 1)]
    assert_equal(ours, theirs)
    assert counters["stats"]["unique_graphs"] == 4


def test_too_little_memory_to_compile_halves_the_batch(digits, monkeypatch):
    compiled = makers_of(small(perceptron(10)), digits, 8)[1]
    make_fx = compiled_step.make_fx

    def traced(function, **options):
        def run(*example):
            if len(example[0]) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return make_fx(function, **options)(*example)

        return run

    monkeypatch.setattr(compiled_step, "make_fx", traced)
    compiled.warm_up(np.arange(IMAGES))
    told = []
    compiled.make(np.arange(IMAGES), lambda chunk: None, lambda *sizes: told.append(sizes))
    assert told == [(3, 1)]


class PartlyExact(nn.Module):
    """Keeps its head out of autocast, as networks do whose heads need their digits."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU())
        self.head = nn.Linear(12, 10)

    def forward(self, images):
        features = self.body(images)
        with torch.autocast("cpu", enabled=False):
            return self.head(features.float()).relu()


def test_bf16_is_where_it_is_eagerly_and_nowhere_else(digits):
    eager, compiled = makers_of(small(seeded(PartlyExact)), digits, 8)
    with precision("exact", CPU):
        exact = arrays_of(eager)
    with precision("bf16", CPU):
        ours, theirs = arrays_of(compiled), arrays_of(eager)
    assert_equal(ours, theirs)
    assert np.nanmax(abs(ours["psi"] - exact["psi"])) > 1e-5


class Branching(nn.Sequential):
    """Takes another way for bright images."""

    def forward(self, images):
        return super().forward(images if images.mean() > 0.5 else 1 - images)


def branching():
    return small(seeded(lambda: Branching(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))))


def test_a_network_that_cannot_be_traced_is_refused_in_a_sentence(digits):
    compiled = makers_of(branching(), digits, 8)[1]
    with pytest.raises(RunError, match=r"^compile: torch cannot compile .*; leave --compile out$") as refused:
        arrays_of(compiled)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_so_is_one_that_the_compiler_fails_at(digits):
    def failing(_graph, _example):
        raise ValueError("no such operator")

    compiled = makers_of(small(perceptron(10)), digits, 8, backend=failing)[1]
    with pytest.raises(RunError, match=r"^compile: torch cannot compile .*; leave --compile out$"):
        arrays_of(compiled)


def test_a_network_that_runs_otherwise_than_in_the_dry_forward_is_refused_as_eagerly(digits):
    compiled = makers_of(small(seeded(lambda: Fickle("more"))), digits, 8)[1]
    with pytest.raises(ModelError, match="only networks that run alike for every batch can be measured"):
        arrays_of(compiled)


@pytest.mark.parametrize("build", [lambda: small(perceptron(10)), branching], ids=["fits", "refused"])
def test_model_and_random_state_are_left_as_found(build, digits):
    classifier = build()
    compiled = makers_of(classifier, digits, 8)[1]
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    modes, random_state = [module.training for module in classifier.modules()], torch.get_rng_state()
    try:
        arrays_of(compiled)
    except RunError:
        assert isinstance(classifier.network, Branching)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [module.training for module in classifier.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in classifier.state_dict().items())
    assert not any(each.requires_grad or each.grad is not None for each in classifier.parameters())
    for module in classifier.modules():
        assert not (module._forward_hooks or module._forward_pre_hooks)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


class Keeping(nn.Sequential):
    """Keeps a tensor of the batch's size for its next forward, as networks with embedded positions do."""

    kept = None

    def forward(self, images):
        if self.kept is None or len(self.kept) != len(images):
            self.kept = torch.full((len(images), 1, 1, 1), 0.5)
        return super().forward(images * self.kept)


def test_what_a_network_keeps_serves_it_afterwards(digits):
    network = seeded(lambda: Keeping(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)))
    eager, compiled = makers_of(small(network), digits, 8)
    ours = arrays_of(compiled)
    assert type(network.kept) is torch.Tensor
    assert_equal(ours, arrays_of(eager))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_step_is_free_as_soon_as_nobody_holds_it(digits, backend):
    classifier = small(perceptron(10))
    gc.disable()
    try:
        eager, compiled = makers_of(classifier, digits, 8, backend=backend)
        arrays_of(compiled)
        held = [weakref.ref(compiled.step), weakref.ref(classifier.network)]
        compiled.leave()
        del eager, compiled, classifier
        assert [each() for each in held] == [None, None]
    finally:
        gc.enable()


def test_compiling_is_no_time_of_the_step(digits, monkeypatch):
    compiled = makers_of(small(perceptron(10)), digits, 8)[1]
    make_fx, ticks = compiled_step.make_fx, iter(range(10**6))
    # A clock that moves only when it is asked: a step asks a few times, tracing asks a hundred times more.
    monkeypatch.setattr("psi_core.engine.measure.step.time.perf_counter", lambda: float(next(ticks)))

    def slow(function, **options):
        return lambda *arguments: ([next(ticks) for _ in range(1000)], make_fx(function, **options)(*arguments))[1]

    monkeypatch.setattr(compiled_step, "make_fx", slow)
    compiled.warm_up(np.arange(IMAGES))
    seconds = compiled.step.seconds
    assert 0 < seconds.benign + seconds.gradient + seconds.attacked < 100


NETWORK = """
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
"""


def test_a_run_is_compiled_on_request_and_agrees(tmp_path, monkeypatch):
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)  # Two graphs: no processes of its own for them.
    (tmp_path / "net.py").write_text(NETWORK)
    options = {"model": f"{tmp_path / 'net.py'}:net", "weights": "random", "size": 8, "images": 20, "chunk": 12}
    options |= {"batch": 8, "threads": 1, "epsilon": [0, 0.1], "measures": "psi", "controls": "sign-noise"}
    eager, compiled = (analyze(RunConfig(compile=each, **options), tmp_path / "runs") for each in (False, True))
    phases = [event["phase"] for event in events(compiled.directory) if event["event"] == "phase"]
    assert phases == ["load", "compile", "run"]
    assert compiled.psi == pytest.approx(eager.psi, abs=1e-6, nan_ok=True)
    assert compiled.psi[0].tolist() == compiled.psi[compiled.conditions.index("fgsm@0")].tolist()
    assert (compiled.predictions == eager.predictions).all()
    assert not np.signbit(compiled.array("linf")).any()


def test_what_a_network_compiles_itself_is_seen_as_it_is_written(tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n"
        "@torch.compile\ndef rectified(x):\n    return torch.relu(x)\n\n"
        "class Net(nn.Module):\n    input_size = 8\n\n    def __init__(self):\n        super().__init__()\n"
        "        self.fc, self.act = nn.Linear(64, 10), torch.compile(nn.ReLU())\n        self.compile()\n\n"
        "    def forward(self, x):\n        return self.fc(self.act(rectified(x.flatten(1) - 0.5)))\n"
    )
    prepared = prepare(RunConfig(model=f"{tmp_path}/net.py:Net", images=3))
    assert [layer.name for layer in prepared.layers] == ["relu", "act"]
    assert list(prepared.notes) == [
        "model: took compile() off it",
        "model: took OptimizedModule off it; layers are named without '_orig_mod.'",
    ]
