"""The fused step and the chunks made of it, against a reference that stores every activation in float64."""

import contextlib
import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F

from psi_core.conditions import conditions_of
from psi_core.devices import CPU
from psi_core.engine.attacks.attacks import Batch
from psi_core.engine.attacks.controls import sign_noise
from psi_core.engine.attacks.noise import Noise
from psi_core.engine.attacks.perturbations import Perturbations
from psi_core.engine.images import load_dataset, network_inputs
from psi_core.engine.measure import step
from psi_core.engine.measure.reducer import Reducer
from psi_core.engine.measure.step import PER_IMAGE, FusedStep, RowLayout, StepPlan
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.layers import select_calls, trace_network
from psi_core.engine.models.sources import build_classifier, input_channels, model_source
from psi_core.engine.models.taps import Taps
from psi_core.engine.work.chunk_maker import ChunkMaker
from psi_core.errors import ModelError, RunError
from tests.engine.networks import Ensemble, Fickle, Functional, perceptron, seeded

MEASURES = ("psi", "active_fraction", "mean_response")
CONDITIONS = conditions_of(["fgsm"], [0.0, 0.1], ["sign-noise", "anti-fgsm"])
IMAGES = 8
SIZES = {"alexnet": 64, "vgg11": 32, "torchvision:resnet18": 64, "lenet5": 28}


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("mnist", "test")


@pytest.fixture(scope="module")
def classifiers():
    return {name: seeded(lambda name=name: build_classifier(model_source(name), 10, "0.1307/0.3081")) for name in SIZES}


def small(network):
    return Classifier(network, (0.0,), (1.0,)).eval().requires_grad_(False)


def maker_of(classifier, dataset, size, *, layers=("relu",), batch=3, perturbations=None, abreast=1, **options):
    channels = input_channels(classifier.network)
    trace = trace_network(classifier.network, channels, size)
    options = {"unit": "neuron", "rectify": "none", "uses_predictions": False} | options
    calls = select_calls(trace, layers, options["rectify"], "model")
    plan = StepPlan(classifier, calls, trace, perturbations or Perturbations(CONDITIONS, seed=5), MEASURES, **options)
    return ChunkMaker(FusedStep(plan), dataset, size, channels, CPU, batch, abreast=abreast)


def arrays_of(maker, images=IMAGES):
    return maker.make(np.arange(images), lambda chunk: None, lambda before, after: None)


def stored(maker, inputs):
    """Logits, and a float64 copy of every tapped activation, of one plain forward."""
    wanted = [call.path for call in maker.plan.layers]
    kept = {}

    def keep(name, _kind, output):
        if name in wanted:
            kept[name] = output.detach().double().clone()

    network = maker.plan.model.network
    with torch.no_grad(), Taps(network, keep, with_modules=True):
        logits = maker.plan.model(inputs)
    return logits.double(), [kept[name] for name in wanted]


def rectified(responses, rectify):
    return {"none": responses, "relu": responses.clamp(min=0), "abs": responses.abs()}[rectify]


def reference_of(maker, dataset):
    """The arrays of a chunk, the slow way: all images at once, everything stored, all sums in float64."""
    plan = maker.plan
    indices = torch.arange(IMAGES)
    images = network_inputs(torch.tensor(dataset.images[:IMAGES]), maker.size, maker.channels)
    inputs = images.clone().requires_grad_()
    logits = plan.model(inputs)
    labels = logits.argmax(1) if plan.uses_predictions else torch.tensor(dataset.labels[:IMAGES])
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), inputs)
    found = {name: [] for name in (*MEASURES, "prediction", "confidence", "linf", "l2", "sums", "squares")}
    for condition in plan.conditions:
        direction = {"benign": 0, "fgsm": gradient.sign(), "anti-fgsm": -gradient.sign()}.get(condition.attack)
        if direction is None:
            noise = Noise(plan.perturbations.seed, indices, condition.stream)
            direction = sign_noise(Batch(torch.full_like(images, 0.5), gradient, noise, labels), 0.5) * 2 - 1
        changed = (images + condition.epsilon * direction).clamp(0, 1)
        change = (changed - images).double().flatten(1)
        logits, activations = stored(maker, changed)
        responses = [rectified(activation, plan.rectify) for activation in activations]
        means = [response.flatten(2).mean(2) if response.dim() > 2 else response for response in responses]
        units = means if plan.unit == "channel" else [response.flatten(1) for response in responses]
        shares = [r.mean(1).square() / r.square().mean(1) for r in units]
        found["psi"].append([(1 - a) / (1 - 1 / r.shape[1]) for a, r in zip(shares, units, strict=True)])
        found["active_fraction"].append([(r > 0).double().mean(1) for r in units])
        found["mean_response"].append([r.mean(1) for r in units])
        found["prediction"].append(logits.argmax(1))
        found["confidence"].append(logits.softmax(1)[indices, labels])
        found["linf"].append(change.abs().amax(1))
        found["l2"].append(change.square().sum(1).sqrt())
        found["sums"].append([[mean[labels == label].sum(0) for label in labels.unique()] for mean in means])
        found["squares"].append([mean.square().sum(0) for mean in means])
    found["label"] = labels
    return found


def require_equal(arrays, expected, plan, accuracy=1e-5):
    for name in (*MEASURES, "prediction", "confidence", "linf", "l2"):
        rows = [np.stack(row) if isinstance(row, list) else row.numpy() for row in expected[name]]
        np.testing.assert_allclose(arrays[name], np.stack(rows), atol=accuracy, rtol=accuracy, err_msg=name)
    np.testing.assert_array_equal(arrays["label"], expected["label"])
    present, counts = np.unique(expected["label"], return_counts=True)
    np.testing.assert_array_equal(arrays["class_labels"], present)
    np.testing.assert_array_equal(arrays["class_counts"], counts)
    for place, call in enumerate(plan.layers):
        sums = np.stack([torch.stack(condition[place]) for condition in expected["sums"]])
        np.testing.assert_allclose(arrays[f"class_sum/{call.name}"], sums, atol=accuracy, rtol=accuracy)
        squares = np.stack([condition[place] for condition in expected["squares"]])
        np.testing.assert_allclose(arrays[f"square_sum/{call.name}"], squares, atol=accuracy, rtol=accuracy)


@pytest.mark.parametrize("name", SIZES)
def test_a_chunk_equals_a_reference_that_stores_everything(name, classifiers, dataset):
    maker = maker_of(classifiers[name], dataset, SIZES[name])
    require_equal(arrays_of(maker), reference_of(maker, dataset), maker.plan)


@pytest.mark.parametrize(
    ("name", "layers", "options"),
    [
        ("alexnet", ["relu"], {"unit": "channel"}),
        ("lenet5", ["all"], {"rectify": "abs"}),
        ("lenet5", ["all"], {"rectify": "relu", "unit": "channel"}),
        ("lenet5", ["features.3", "conv2", "classifier.4"], {"rectify": "abs", "uses_predictions": True}),
        ("lenet5", ["relu"], {"uses_predictions": True}),
    ],
)
def test_the_same_for_other_layers_units_and_labels(name, layers, options, classifiers, dataset):
    maker = maker_of(classifiers[name], dataset, SIZES[name], layers=layers, **options)
    require_equal(arrays_of(maker), reference_of(maker, dataset), maker.plan)


@pytest.mark.parametrize(("layers", "rectify"), [(["relu"], "none"), (["all"], "relu"), (["block"], "abs")])
def test_the_same_for_functional_calls(layers, rectify, dataset):
    maker = maker_of(small(seeded(lambda: Functional(10))), dataset, 8, layers=layers, rectify=rectify)
    require_equal(arrays_of(maker), reference_of(maker, dataset), maker.plan)


def test_the_same_for_an_ensemble_by_vmap_whose_members_stay_unseen(dataset):
    maker = maker_of(small(seeded(lambda: Ensemble(10))), dataset, 8)
    assert [call.name for call in maker.plan.layers] == ["relu"]
    require_equal(arrays_of(maker), reference_of(maker, dataset), maker.plan)


@pytest.mark.parametrize("name", ["alexnet", "torchvision:resnet18"])
def test_epsilon_0_is_benign_bit_for_bit(name, classifiers, dataset):
    arrays = arrays_of(maker_of(classifiers[name], dataset, SIZES[name]))
    place = [condition.name for condition in CONDITIONS].index("fgsm@0")
    for key in ("psi", "active_fraction", "mean_response", "prediction", "confidence", "linf", "l2"):
        assert np.array_equal(arrays[key][0], arrays[key][place], equal_nan=True), key


def test_predicted_labels_are_the_networks_own(classifiers, dataset):
    arrays = arrays_of(maker_of(classifiers["lenet5"], dataset, 28, uses_predictions=True))
    assert np.array_equal(arrays["label"], arrays["prediction"][0])


@pytest.mark.parametrize("batch", [1, 2, 8, 50])
def test_any_split_into_batches_gives_the_same_numbers(batch, classifiers, dataset):
    whole = arrays_of(maker_of(classifiers["lenet5"], dataset, 28, batch=IMAGES))
    arrays = arrays_of(maker_of(classifiers["lenet5"], dataset, 28, batch=batch))
    assert arrays.keys() == whole.keys()
    for name, array in arrays.items():
        assert array.dtype == whole[name].dtype
        np.testing.assert_allclose(array, whole[name], atol=1e-5, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(("layers", "rectify"), [(("relu",), "none"), (("all",), "relu")])
def test_sums_with_a_relu_and_sums_apart_have_the_same_bits(name, layers, rectify, classifiers, dataset, monkeypatch):
    maker = maker_of(classifiers[name], dataset, SIZES[name], layers=layers, rectify=rectify)
    with_relu = []
    usual = Reducer.relu

    def relu(reducer, values, **named):
        with_relu.append(reducer._is_apart(values))
        return usual(reducer, values, **named)

    monkeypatch.setattr(Reducer, "relu", relu)
    together = arrays_of(maker)
    assert any(with_relu)
    monkeypatch.setattr(step, "_relus", lambda _: {})
    apart = arrays_of(maker_of(classifiers[name], dataset, SIZES[name], layers=layers, rectify=rectify))
    assert together.keys() == apart.keys()
    assert all(together[each].tobytes() == apart[each].tobytes() for each in together)


def test_a_relu_that_is_not_asked_for_is_torchs_own(classifiers, dataset, monkeypatch):
    every = maker_of(classifiers["lenet5"], dataset, 28).plan.layers
    monkeypatch.setattr(Reducer, "relu", None)
    arrays = arrays_of(maker_of(classifiers["lenet5"], dataset, 28, layers=(every[0].name,)))
    assert arrays["psi"].shape[1] == 1


def test_what_the_layout_lays_it_finds_again():
    conditions, layers, measures, images = 2, 3, ("psi", "hoyer"), 5
    layout = RowLayout(conditions, layers, measures)
    random = torch.Generator().manual_seed(0)
    per_image = {name: torch.rand(conditions, images, generator=random) for name in reversed(PER_IMAGE)}
    measured = {name: torch.rand(conditions, layers, images, generator=random) for name in reversed(measures)}
    is_finite = torch.rand(conditions, layers, images, generator=random) > 0.5
    block = layout.block_of(per_image, measured, is_finite).numpy()
    assert block.shape == (layout.rows, images) == (conditions * (4 + 2 * layers + layers), images)
    found = layout.arrays(block)
    assert [*found] == [*PER_IMAGE, *measures]
    assert all(np.array_equal(found[name], values) for name, values in (per_image | measured).items())
    assert np.array_equal(layout.is_finite(block), is_finite)


class Watched(nn.Module):
    """A ReLU that remembers, weakly, the memory of its outputs."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, features):
        output = F.relu(features)
        self.seen.append(StorageWeakRef(output.untyped_storage()))
        return output


def test_no_activation_outlives_the_batch(dataset):
    network = perceptron(10)
    network[2] = network[4] = watched = Watched()
    maker = maker_of(small(network), dataset, 8)
    watched.seen.clear()
    gc.disable()
    try:
        positions = np.arange(4)
        result = maker.step(*maker._inputs(maker._images.read(positions)))
        assert len(watched.seen) == 2 * len(CONDITIONS)
        assert all(memory.expired() for memory in watched.seen)
    finally:
        gc.enable()
    assert result.values.shape == (maker.plan.layout.rows, 4)
    assert not result.values.requires_grad


@pytest.mark.parametrize(("size", "abreast"), [(28, 1), (28, 3), (27, 1)])
def test_a_step_and_its_network_are_free_as_soon_as_nobody_holds_them(abreast, size, dataset):
    """Not when garbage is collected: what a step holds on a GPU would outlive its run. Nor do errors hold it."""
    classifier = small(seeded(lambda: build_classifier(model_source("lenet5"), 10, "none")))
    others = {*threading.enumerate()}
    gc.disable()
    try:
        maker = maker_of(classifier, dataset, 28, abreast=abreast)
        maker.size = size
        with contextlib.nullcontext() if size == 28 else pytest.raises(ModelError):
            arrays_of(maker)
        steps = [maker.step] if maker._abreast is None else maker._abreast._steps
        assert len(steps) == abreast
        held = [weakref.ref(each) for step in steps for each in (step, step._taps, step.plan.model.network)]
        maker.leave()
        del maker, steps, classifier
        for thread in {*threading.enumerate()} - others:
            thread.join(20)  # Of batches abreast: it goes when its pool goes, and has let go of its last batch then.
        assert [each() for each in held] == [None] * 3 * abreast
    finally:
        gc.enable()


def test_nothing_of_a_forward_that_failed_is_kept(dataset, monkeypatch):
    network = perceptron(10)
    network[2] = watched = Watched()
    maker = maker_of(small(network), dataset, 8)
    watched.seen.clear()
    usual, calls = Reducer.__call__, []

    def full(reducer, *layer):
        calls.append(None)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return usual(reducer, *layer)

    monkeypatch.setattr(Reducer, "__call__", full)
    gc.disable()
    try:
        with contextlib.suppress(torch.OutOfMemoryError):
            maker.step(*maker._inputs(maker._images.read(np.arange(4))))
        assert len(watched.seen) == 1
        assert watched.seen[0].expired()
        assert maker.step._sums == []
        assert maker.step._taps.arguments == ((), {})
    finally:
        gc.enable()


def test_the_model_is_left_without_hooks_and_gradients(dataset):
    classifier = small(perceptron(10))
    arrays_of(maker_of(classifier, dataset, 8))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in classifier.modules())
    assert all(parameter.grad is None for parameter in classifier.parameters())


@pytest.mark.parametrize("change", ["order", "fewer", "more", "shape", "tuple"])
def test_a_network_that_runs_otherwise_than_in_the_dry_forward_is_refused(change, dataset):
    layers = ["relu", "block"] if change == "tuple" else ["relu"]
    classifier = small(Fickle(change))
    maker = maker_of(classifier, dataset, 8, layers=layers, rectify="abs" if change == "tuple" else "none")
    with pytest.raises(ModelError, match="only networks that run alike for every batch can be measured"):
        arrays_of(maker)
    assert not any(module._forward_hooks for module in classifier.modules())


class Poison(nn.Module):
    """Answers one image with what it is told; that image is known by its mean pixel."""

    def __init__(self, mean, value):
        super().__init__()
        self.mean, self.value = mean, value

    def forward(self, images):
        hit = (images.flatten(1).mean(1) - self.mean).abs() < 1e-6
        return torch.where(hit[:, None, None, None], self.value, images)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_ends_the_chunk_with_layer_and_image(value, dataset):
    mean = network_inputs(torch.tensor(dataset.images[5:6]), 8, 1).mean().item()
    classifier = small(nn.Sequential(Poison(mean, value), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)))
    with pytest.raises(RunError, match="layer 1: image 5 under benign makes it respond with NaN, infinity, or more"):
        arrays_of(maker_of(classifier, dataset, 8))


class Hungry(nn.Module):
    """Runs out of memory above a number of images."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def forward(self, images):
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return images


def test_out_of_memory_halves_the_batch_and_retries_the_same_images(dataset):
    hungry = Hungry(3)
    classifier = small(nn.Sequential(hungry, *perceptron(10)))
    maker, halvings = maker_of(classifier, dataset, 8, batch=8), []
    arrays = maker.make(np.arange(IMAGES), lambda chunk: None, lambda *sizes: halvings.append(sizes))
    assert halvings == [(8, 4), (4, 2)]
    assert maker.batch == 2
    hungry.most = IMAGES
    whole = arrays_of(maker_of(classifier, dataset, 8, batch=8))
    for name, array in whole.items():
        np.testing.assert_allclose(arrays[name], array, atol=1e-6, rtol=1e-6, err_msg=name)


def test_one_image_that_does_not_fit_ends_the_chunk(dataset):
    classifier = small(nn.Sequential(Hungry(2), *perceptron(10)))
    maker = maker_of(classifier, dataset, 8, batch=2)
    classifier.network[0].most = 0
    with pytest.raises(RunError, match="one image alone does not fit"):
        arrays_of(maker)


def test_other_failures_of_a_forward_are_not_taken_for_memory(dataset):
    class Bomb(nn.Module):
        def forward(self, features):
            if len(features) > 2:
                raise RuntimeError("forward failed")
            return features

    with pytest.raises(RuntimeError, match="forward failed"):
        arrays_of(maker_of(small(nn.Sequential(Bomb(), *perceptron(10))), dataset, 8))


def test_time_is_told_by_stage(dataset):
    maker = maker_of(small(perceptron(10)), dataset, 8)
    arrays_of(maker)
    seconds = maker.step.seconds
    assert min(seconds.benign, seconds.gradient, seconds.attacked) > 0
