"""Interpolation by torch's own forward, its gradient by two matrix products: torch's up to rounding."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from psi_core.engine.attacks.gradients import input_gradient
from psi_core.engine.stand_ins import STAND_INS, interpolation, standing_in
from psi_core.engine.stand_ins.interpolation import interpolate

ROUNDING = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 2e-2}
"""Of the largest number of a gradient, by the type of its numbers."""

TARGETS = [
    *({"size": each} for each in (5, (1, 30), (7, 9), (14, 27))),
    *({"scale_factor": each} for each in (2, 0.5, 1.7, (0.37, 2.3), [3.1, 1.0])),
    {"scale_factor": 1.7, "recompute_scale_factor": True},
]
MODES = [*itertools.product(["bilinear", "bicubic"], [False, True], [False, True])]


@pytest.fixture(autouse=True)
def by_products(monkeypatch):
    """Takes a CPU for a GPU; how often a gradient was computed by products."""
    calls = []
    usual = interpolation._matrix
    monkeypatch.setattr(interpolation, "_matrix", lambda *given: calls.append(1) or usual(*given))
    monkeypatch.setattr(interpolation, "_DEVICES", ("cpu",))
    return calls


def numbers(*shape, seed=1):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def passed_through(function, images, **named):
    """What a function gives, and the gradient of the images for a gradient of noise."""
    given = images.clone().requires_grad_()
    found = function(given, **named)
    return found.detach(), torch.autograd.grad(found, given, numbers(*found.shape, seed=2).to(found.dtype))[0]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["plain", "last"])
@pytest.mark.parametrize("kind", ROUNDING, ids=str)
@pytest.mark.parametrize(("mode", "align_corners", "antialias"), MODES)
def test_it_gives_torchs_images_and_gradient(mode, align_corners, antialias, kind, layout, by_products):
    if antialias and kind == torch.bfloat16:
        pytest.skip("a CPU has none")
    for size, named in itertools.product([(9, 14), (1, 6)], TARGETS):
        if size[0] == 1 and named.get("scale_factor") in (0.5, (0.37, 2.3)):
            continue  # No row would be left.
        images = numbers(2, 3, *size).to(kind).contiguous(memory_format=layout)
        named = {**named, "mode": mode, "align_corners": align_corners, "antialias": antialias}  # noqa: PLW2901
        found, gradient = passed_through(interpolate, images, **named)
        expected, _ = passed_through(F.interpolate, images, **named)
        _, exact = passed_through(F.interpolate, images.double(), **named)
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()
        assert (gradient.dtype, gradient.shape) == (kind, images.shape)
        assert (gradient - exact).abs().max() <= ROUNDING[kind] * exact.abs().max(), (size, named)
    assert len(by_products) == 2 * (2 * len(TARGETS) - 2)


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (numbers(2, 3, 6, 6), {"scale_factor": 2, "mode": "nearest"}),
        (numbers(2, 3, 6), {"scale_factor": 2, "mode": "linear"}),
        (numbers(2, 3, 4, 6, 6), {"scale_factor": 2, "mode": "trilinear"}),
    ],
    ids=["nearest", "line", "cube"],
)
def test_all_else_is_torchs_own(images, named, by_products):
    found, expected = (passed_through(each, images, **named) for each in (interpolate, F.interpolate))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert not by_products


def test_it_is_for_a_gradient_on_a_gpu_alone(monkeypatch):
    images, named = numbers(2, 3, 6, 6), {"scale_factor": 2, "mode": "bilinear"}
    assert interpolate(images, **named).grad_fn is None
    asked = images.clone().requires_grad_()
    assert "_Interpolation" in type(interpolate(asked, **named).grad_fn).__name__
    with torch.no_grad():
        assert interpolate(asked, **named).grad_fn is None
    monkeypatch.undo()
    assert "Upsample" in type(interpolate(asked, **named).grad_fn).__name__


@pytest.mark.parametrize("named", [{}, {"size": 3, "scale_factor": 2}, {"size": (1, 2, 3)}], ids=str)
def test_wrong_arguments_have_torchs_own_answer(named):
    said = []
    for function in (F.interpolate, interpolate):
        with pytest.raises(ValueError, match=r"size|scale") as found:
            function(numbers(2, 3, 6, 6).requires_grad_(), mode="bilinear", **named)
        said.append(str(found.value))
    assert said[0] == said[1]


def test_under_autocast_products_keep_their_digits():
    images = numbers(2, 3, 6, 6).float()
    _, usual = passed_through(interpolate, images, scale_factor=2, mode="bilinear")
    given = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = interpolate(given, scale_factor=2, mode="bilinear")
        (gradient,) = torch.autograd.grad(found, given, numbers(*found.shape, seed=2).float())
    assert torch.equal(gradient, usual)


class Resized(nn.Module):
    """Images are brought to another size first, by a module and by the function."""

    def __init__(self):
        super().__init__()
        self.up, self.head = nn.Upsample(scale_factor=1.5, mode="bilinear"), nn.Linear(3 * 8 * 8, 4)

    def forward(self, images):
        return self.head(F.interpolate(self.up(images), (8, 8), mode="bicubic", antialias=True).flatten(1))


def test_a_networks_gradient_goes_through_it(by_products, monkeypatch):
    network, images, labels = Resized().requires_grad_(False), numbers(2, 3, 6, 6).float(), torch.tensor([0, 3])
    logits, gradient = input_gradient(network, images, labels)
    assert len(by_products) == 4
    monkeypatch.undo()
    usual_logits, usual = input_gradient(network, images, labels)
    assert len(by_products) == 4
    assert torch.equal(logits, usual_logits)
    assert (gradient - usual).abs().max() <= 2e-6 * usual.abs().max()
    assert STAND_INS[F.interpolate] is interpolate


def test_it_stands_in_on_a_gpu_too(by_products):
    images = numbers(2, 3, 6, 6).requires_grad_()
    with standing_in(torch.device("cuda")):
        nn.Upsample(scale_factor=2, mode="bicubic")(images).sum().backward()
    assert len(by_products) == 2
