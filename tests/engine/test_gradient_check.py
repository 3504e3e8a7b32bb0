"""Soundness: wrong gradients and chance are seen, what cannot be seen has its reason, and nothing is left behind."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from psi_core.config import RunConfig
from psi_core.devices import CPU
from psi_core.engine import analyze, gradient_check
from psi_core.engine.attacks.perturbations import perturbations_of
from psi_core.engine.measure.step import StepPlan
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.layers import trace_network
from psi_core.engine.work.chunk_maker import ChunkMaker
from psi_core.engine.work.worker import Worker
from psi_core.errors import DataError
from psi_core.evidence import checks_of
from tests.engine.networks import images_of, moody, perceptron, seeded
from tests.engine.processes import events, new_run, small_config


def seen(network, images=None, *, policy="exact", highest_label=2, **options):
    """What is seen of a network that takes 1 x 8 x 8 and has three classes."""
    model = Classifier(network, (0.0,), (1.0,)).requires_grad_(False)
    model.training = False  # Alone: what the network's modules do is under test.
    config = RunConfig(size=8, **options)
    trace = trace_network(perceptron(), 1, 8)
    plan = StepPlan(model, (), trace, perturbations_of(config), (), "neuron", "none", config.labels == "predicted")
    images = images_of(6) if images is None else images
    places = torch.arange(len(images))
    return gradient_check.engine_evidence(plan, (images, highest_label - places % 3, places), policy, CPU)


def test_labels_that_the_network_does_not_know_are_of_no_concern_to_its_own_choices():
    found = seen(perceptron().eval(), highest_label=9, labels="predicted")
    assert found.finite_difference_error < 1e-6
    assert "out of bounds" in seen(perceptron().eval(), highest_label=9).gradient_reason


class Wrong(torch.autograd.Function):
    """The input itself, with a gradient that is not that of it."""

    @staticmethod
    def forward(context, inputs, factor, is_step):
        context.factor = factor
        return inputs.mul(4).round().div(4) if is_step else inputs.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * context.factor, None, None


class Behind(nn.Module):
    """A sound network behind a function of its input."""

    def __init__(self, function):
        super().__init__()
        self.function, self.network = function, perceptron()

    def forward(self, images):
        return self.network(self.function(images))


@pytest.mark.parametrize(
    "options",
    [{}, {"labels": "predicted"}, *({"target": each, "attack": "pgd"} for each in ("least-likely", "random", "next"))],
    ids=str,
)
def test_a_sound_network_passes_whatever_its_attacks_aim_at(options):
    found = seen(perceptron().eval(), **options)
    assert found.finite_difference_error < 1e-6
    assert found.gradient_error < 1e-4
    assert (found.repeat_difference, found.gradient_repeat_difference, found.training_modules) == (0, 0, 0)
    assert (found.images, found.pixels) == (6, 1)
    assert (found.repeat_reason, found.gradient_reason) == (None, None)


@pytest.mark.parametrize(
    ("factor", "is_step", "error"),
    [(1, False, 0), (1.01, False, 0.01 / 1.01), (2, False, 0.5), (-1, False, 2), (1, True, 1)],
)
def test_a_gradient_that_is_none_is_seen(factor, is_step, error):
    found = seen(Behind(lambda images: Wrong.apply(images, factor, is_step)).eval())
    assert found.finite_difference_error == pytest.approx(error, abs=1e-6)
    assert found.gradient_error < 1e-4  # The run follows it all the same.


def test_the_loss_next_to_0_keeps_its_digits():
    network = nn.Sequential(perceptron(), Scaled(300)).eval()
    assert seen(network, labels="predicted").finite_difference_error < 1e-6


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, features):
        return features * self.factor


def pooled():
    """Max pooling before anything else: equal pixels tie."""
    return seeded(lambda: nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)))


def test_equal_pixels_raise_no_false_alarm(monkeypatch):
    black = torch.zeros(4, 1, 8, 8)
    assert seen(pooled(), black).finite_difference_error < 1e-6
    monkeypatch.setattr(gradient_check, "_PULL", 0.0)
    assert seen(pooled(), black).finite_difference_error > 0.4


def test_a_relu_that_bends_within_the_step_raises_no_false_alarm(monkeypatch):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.ReLU(), nn.Linear(1, 3)).eval()
    monkeypatch.setattr(gradient_check, "_PULL", 0.0)
    with torch.no_grad():
        network[1].weight.fill_(1.0)
        network[1].bias.fill_(-32 + 4e-6)  # Images of 0.5 stand 4e-6 above the bend.
        network[3].weight.copy_(torch.tensor([[1.0], [-1.0], [0.0]]))
    gray = torch.full((2, 1, 8, 8), 0.5)
    assert seen(network, gray).finite_difference_error < 1e-4
    monkeypatch.setattr(gradient_check, "_STEPS", (1e-5,))
    assert seen(network, gray).finite_difference_error > 0.2


class Stuck(nn.Dropout):
    """Never leaves training mode."""

    def train(self, mode=True):
        return super().train(True)


class Noisy(nn.Module):
    def forward(self, images):
        return F.dropout(images, 0.5, training=True)


@pytest.mark.parametrize(("chance", "training"), [(Stuck(0.5), 1), (Noisy(), 0)], ids=["stuck", "functional"])
def test_chance_in_eval_mode_is_seen(chance, training):
    found = seen(nn.Sequential(chance, perceptron()).eval())
    assert found.repeat_difference > 0.01
    assert found.gradient_repeat_difference > 0.1
    assert found.training_modules == training
    assert found.finite_difference_error > 0.05


class Shaken(torch.autograd.Function):
    """The input itself, with noise of a size in its gradient alone."""

    @staticmethod
    def forward(context, inputs, size):
        context.size = size
        return inputs.clone()

    @staticmethod
    def backward(context, gradient):
        noise = context.size * gradient.abs().max() * torch.rand_like(gradient)
        return gradient + gradient.sign() * noise, None


@pytest.mark.parametrize("options", [{}, {"labels": "predicted", "loss": "cross-entropy"}], ids=str)
@pytest.mark.parametrize("size", [0, 1e-5, 0.1])
def test_noise_in_the_gradient_alone_is_seen(size, options):
    found = seen(Behind(lambda images: Shaken.apply(images, size)).eval(), **options)
    assert found.repeat_difference == 0
    assert size / 3 <= found.gradient_repeat_difference <= size
    assert found.gradient_repeat_reason is None


@pytest.mark.parametrize("network", [lambda: Scaled(0.0), lambda: Scaled(float("nan"))], ids=["zero", "nan"])
def test_a_gradient_of_zeros_repeats_itself_and_one_of_nan_cannot_be_told(network):
    found = seen(nn.Sequential(perceptron(), network()).eval())
    told = found.gradient_repeat_difference, found.gradient_repeat_reason
    assert told in ((0.0, None), (None, "it came to NaN or infinity"))
    assert (told[0] == 0) == (found.repeat_reason is None)


def test_a_network_without_a_gradient_still_repeats_its_forwards():
    found = seen(Behind(torch.Tensor.detach).eval())
    assert found.repeat_difference == 0
    assert "no gradient reaches its input" in found.gradient_repeat_reason
    alone = seen(Behind(torch.Tensor.detach).eval(), attack="none", controls="none")
    assert (alone.gradient_repeat_difference, alone.gradient_repeat_reason) == (None, None)


class OwnError(Exception):
    """Of a kind that nobody expects."""


class Single(nn.Module):
    """Works in float32 alone."""

    def __init__(self):
        super().__init__()
        self.network = perceptron()

    def forward(self, images):
        if images.dtype == torch.float64:
            raise OwnError("only float32 here")
        return self.network(images)


def test_a_network_that_fails_in_float64_gives_its_reason():
    found = seen(Single().eval())
    assert found.gradient_reason == "OwnError: only float32 here"
    assert found.finite_difference_error is None
    assert found.repeat_difference == 0


def test_rounding_inside_is_no_wrong_gradient():
    found = seen(Behind(lambda images: images.float().double() if images.dtype == torch.float64 else images).eval())
    assert found.gradient_reason == "it computes in float32 even where all it is given is float64"


@pytest.mark.parametrize(
    ("bound", "words"),
    [("_MOST_PARAMETERS", "parameters are too many"), ("_MOST_MULTIPLY_ADDS", "multiply-adds a forward are too many")],
)
def test_what_is_too_large_is_left_out(bound, words, monkeypatch):
    monkeypatch.setattr(gradient_check, bound, 100)
    assert words in seen(perceptron().eval()).gradient_reason


@pytest.mark.parametrize(
    ("factor", "words"), [(0.0, "the gradient is 0 at every pixel of 6 images"), (float("nan"), "NaN or infinity")]
)
def test_without_a_gradient_there_is_nothing_to_compare(factor, words):
    found = seen(nn.Sequential(perceptron(), Scaled(factor)).eval())
    assert words in found.gradient_reason
    assert (found.repeat_reason is not None) == (factor != 0)


def state(network):
    """All that a check could leave behind."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return {
        "modes": [(name, module.training) for name, module in network.named_modules()],
        "tensors": [(name, tensor.dtype, tensor.requires_grad, tensor.tolist()) for name, tensor in tensors],
        "grads": [None if each.grad is None else each.grad.tolist() for each in network.parameters()],
        "hooks": [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in network.modules()],
        "random": torch.get_rng_state().tolist(),
    }


@pytest.mark.parametrize(
    "make", [lambda: nn.Sequential(Noisy(), moody()), Single, perceptron], ids=["moody", "fails", "plain"]
)
def test_nothing_is_left_behind(make):
    network = make()
    for module in network.modules():
        module.training = module.training and not isinstance(module, nn.BatchNorm2d)
    network.requires_grad_(False)
    before = copy.deepcopy(state(network))
    images = images_of(6)
    kept = images.clone()
    seen(network, images, policy="bf16")
    assert state(network) == before
    assert torch.equal(images, kept)
    assert not images.requires_grad


def test_bf16_is_measured_against_the_same_gradient():
    exact, half = (seen(perceptron().eval(), policy=policy) for policy in ("exact", "bf16"))
    assert half.gradient_error > 100 * exact.gradient_error
    assert half.finite_difference_error < 1e-6


def told(directory, worker=0):
    return [event for event in events(directory, worker) if event["event"] == "evidence"]


def test_a_real_run_is_green_and_says_so_before_its_first_batch(tmp_path):
    run = analyze(small_config(weights="fitted", images=20), tmp_path)
    (event,) = told(run.directory)
    kinds = [each["event"] for each in events(run.directory)]
    assert kinds.index("evidence") < kinds.index("batch")
    assert event["seconds"] < 60
    green = {check.name for check in checks_of(run) if check.status == "green"}
    assert {"finite differences", "deterministic", "norms", "epsilon 0", "zero gradients"} <= green


def test_only_the_first_worker_looks_and_looks_again_when_resumed(tmp_path):
    directory = new_run(tmp_path, images=30)
    for number in (1, 0, 0):
        Worker(directory, number, 2).work()
    assert (len(told(directory, 0)), len(told(directory, 1))) == (2, 0)


def test_what_cannot_be_looked_at_never_fails_a_run(tmp_path, monkeypatch):
    (tmp_path / "single.py").write_text(SINGLE)
    run = analyze(small_config(model=f"{tmp_path}/single.py:Single", weights="built", images=20, size=28), tmp_path)
    assert run.status == "done"
    assert told(run.directory)[0]["gradient_reason"].startswith("OwnError")

    def unreadable(_maker, _images):
        raise DataError("data: an image cannot be read; give another")

    monkeypatch.setattr(ChunkMaker, "first_images", unreadable)
    run = analyze(small_config(images=20), tmp_path)
    assert (run.status, told(run.directory)) == ("done", [])


SINGLE = """
import torch
from torch import nn

class OwnError(Exception):
    pass

class Single(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10))

    def forward(self, images):
        if images.dtype == torch.float64:
            raise OwnError("only float32 here")
        return self.network(images)
"""
