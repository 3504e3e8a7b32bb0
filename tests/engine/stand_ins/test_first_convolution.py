"""The first convolution's gradient by blocks of pixels: torch's up to rounding, its own where blocks do not pay."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from psi_core.devices import CPU
from psi_core.engine.again.run_images import _remade
from psi_core.engine.attacks.gradients import input_gradient
from psi_core.engine.attacks.notebook import fgsm
from psi_core.engine.gradient_check import _run_gradient
from psi_core.engine.measure import step
from psi_core.engine.preparation import prepare
from psi_core.engine.stand_ins import STAND_INS, first_convolution
from psi_core.engine.stand_ins.first_convolution import conv2d, gradient_of_images
from psi_core.engine.work.chunk_maker import make_chunk_maker
from tests.engine.processes import small_config

ROUNDING = 2e-6
"""Of the largest gradient, in float32."""


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def exact_gradient(gradient, weight, images, stride, padding):
    """Torch's, in float64."""
    given = images.double().requires_grad_()
    convolved = torch.conv2d(given, weight.double(), None, stride, padding)
    return torch.autograd.grad(convolved, given, gradient.double())[0]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("outputs", [6, 16, 40])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (4, 4), (7, 3), (11, 11)])
def test_blocks_give_torchs_gradient(channels, outputs, kernel):
    weight = numbers(outputs, channels, *kernel)
    tried = 0
    for stride, padding, size in itertools.product(
        [(1, 1), (2, 2), (4, 4), (3, 1), (16, 16)], [(0, 0), (2, 1), (5, 5)], [(28, 28), (17, 30)]
    ):
        images = numbers(2, channels, *size)
        gradient = numbers(*torch.conv2d(images, weight, None, stride, padding).shape, seed=2)
        found = gradient_of_images(gradient, weight, size, stride, padding)
        expected = exact_gradient(gradient, weight, images, stride, padding)
        assert found.shape == images.shape
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert (found - expected).abs().max() <= ROUNDING * expected.abs().max()
        tried += 1
    assert tried == 30


@pytest.fixture
def by_blocks(monkeypatch):
    """How often a gradient was computed by blocks."""
    calls = []
    usual = first_convolution.gradient_of_images
    monkeypatch.setattr(first_convolution, "gradient_of_images", lambda *given: calls.append(1) or usual(*given))
    return calls


def gradient_through(images, weight, **named):
    given = images.clone().requires_grad_()
    return torch.autograd.grad(conv2d(given, weight, **named).square().sum(), given)[0]


@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "stride", "pays"),
    [
        (1, 6, 5, 1, True),
        (3, 64, 11, 4, True),
        (3, 64, 7, 2, True),
        (3, 64, 3, 1, True),
        (3, 16, 16, 16, True),
        (3, 16, 3, 1, False),
        (3, 32, 3, 2, False),
        (8, 64, 5, 1, False),
        (3, 64, 1, 1, False),
    ],
)
def test_blocks_are_taken_where_they_pay(by_blocks, channels, outputs, kernel, stride, pays):
    images, weight = numbers(2, channels, 32, 32), numbers(outputs, channels, kernel, kernel)
    found = gradient_through(images, weight, stride=stride)
    given = images.clone().requires_grad_()
    torchs = torch.autograd.grad(torch.conv2d(given, weight, stride=stride).square().sum(), given)[0]
    assert bool(by_blocks) is pays
    exact = images.double().requires_grad_()
    (expected,) = torch.autograd.grad(torch.conv2d(exact, weight.double(), stride=stride).square().sum(), exact)
    assert (found - expected).abs().max() <= 5 * ROUNDING * expected.abs().max()
    if not pays:
        assert torch.equal(found, torchs)


@pytest.mark.parametrize(
    "named",
    [{"groups": 3}, {"dilation": 2}, {"padding": "same"}, {"padding": 2, "dilation": (1, 2)}],
)
def test_what_is_not_simple_is_torchs_own(by_blocks, named):
    images, weight = numbers(2, 3, 16, 16), numbers(33, 3 // named.get("groups", 1), 5, 5)
    given = images.clone().requires_grad_()
    torchs = torch.autograd.grad(torch.conv2d(given, weight, **named).square().sum(), given)[0]
    assert torch.equal(gradient_through(images, weight, **named), torchs)
    assert not by_blocks


def test_weights_that_learn_other_types_and_refusals_are_torchs_own(by_blocks):
    images, weight = numbers(2, 1, 16, 16), numbers(8, 1, 5, 5)
    learning = weight.clone().requires_grad_()
    conv2d(images.clone().requires_grad_(), learning).sum().backward()
    assert learning.grad.shape == weight.shape
    assert gradient_through(images.double(), weight.double()).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv2d(images.clone().requires_grad_(), weight).dtype == torch.bfloat16
    with torch.inference_mode():
        assert torch.equal(conv2d(images, weight), torch.conv2d(images, weight))
    with pytest.raises(RuntimeError, match="expected input"):
        conv2d(numbers(2, 2, 16, 16).requires_grad_(), weight)
    assert not by_blocks


def test_outputs_are_torchs_bit_for_bit_with_a_bias():
    images, weight, bias = numbers(2, 3, 20, 20).requires_grad_(), numbers(40, 3, 5, 5), numbers(40)
    assert torch.equal(conv2d(images, weight, bias, (2, 1), 1), torch.conv2d(images, weight, bias, (2, 1), 1))


def test_a_gradient_does_not_depend_on_the_batch():
    weight = numbers(16, 1, 5, 5)
    images = numbers(9, 1, 28, 28)
    together = gradient_through(images, weight, padding=2)
    alone = torch.cat([gradient_through(each[None], weight, padding=2) for each in images])
    assert torch.equal(together, alone)


def lenet(**options):
    prepared = prepare(small_config(model="lenet5", weights="random", images=4, batch=4, threads=1, **options))
    return prepared, make_chunk_maker(prepared.config, prepared, prepared.config.device)


def made_by(maker):
    """The images of every condition, as a run makes them."""
    made = []
    usual = maker.step.measure
    maker.step.measure = lambda changed, images: made.append(changed.clone()) or usual(changed, images)
    maker.make(np.arange(4), lambda _: None, lambda *_: None)
    return made


def test_images_made_again_are_the_runs_bit_for_bit(by_blocks):
    prepared, maker = lenet(attack="fgsm,fgm-l2", epsilon=0.1, controls="none")
    made = made_by(maker)
    assert by_blocks
    by_blocks.clear()
    again = _remade(SimpleNamespace(config=prepared.config), prepared, np.arange(4), prepared.config.conditions[1:])[2]
    assert by_blocks
    assert [torch.equal(each, other) for each, other in zip(again, made, strict=True)] == [True, True]
    images, labels = maker.first_images(np.arange(4))[:2]
    assert torch.equal(fgsm(prepared.classifier, images, labels, 0.1), made[0])


def test_every_gradient_of_the_engine_is_taken_so(by_blocks):
    prepared, maker = lenet()
    images, labels, indices = maker.first_images(np.arange(4))
    input_gradient(prepared.classifier, images, labels)
    assert len(by_blocks) == 1
    _run_gradient(maker.plan, (images, labels, indices), "exact", CPU)  # What evidence compares with float64.
    assert len(by_blocks) == 2
    fgsm(prepared.classifier, images, labels, 0.1)
    assert len(by_blocks) == 3
    assert step.STAND_INS is STAND_INS
