"""Max pooling by rows: torch's numbers in torch's order, and torch's own wherever there is more to it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from psi_core.engine.measure import step
from psi_core.engine.preparation import prepare
from psi_core.engine.stand_ins import STAND_INS, pooling
from psi_core.engine.stand_ins.first_convolution import conv2d
from psi_core.engine.stand_ins.pooling import max_pool2d
from psi_core.engine.work.chunk_maker import make_chunk_maker
from tests.engine.processes import small_config

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def images_of(shape, layout="contiguous", dtype=torch.float32):
    images = torch.randn(shape, generator=torch.Generator().manual_seed(1)).clamp(-0.5, 0.5)  # Many are alike.
    images[0, 0, 0, 0] = torch.nan
    images[-1, -1, -1, -1] = -torch.inf
    return images.to(dtype).contiguous(memory_format=LAYOUTS[layout])


@pytest.fixture
def usual(monkeypatch):
    """How often torch's own was asked."""
    asked = []
    monkeypatch.setattr(pooling, "_USUAL", lambda *arguments: asked.append(1) or F.max_pool2d(*arguments))
    return asked


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("shape", "kernel", "stride"),
    [((3, 6, 28, 28), 2, None), ((2, 3, 13, 11), 3, 2), ((2, 5, 9, 7), (2, 3), (3, 1)), ((2, 4, 2, 2), 2, 2)],
)
def test_it_gives_torchs_numbers_where_torch_has_them(usual, shape, kernel, stride, dtype, layout):
    images = images_of(shape, layout, dtype)
    found, expected = max_pool2d(images, kernel, stride), F.max_pool2d(images, kernel, stride)
    assert not usual
    assert torch.equal(found.nan_to_num(nan=7), expected.nan_to_num(nan=7))
    assert (found.dtype, found.stride()) == (expected.dtype, expected.stride())


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((2, 6, 8, 8), {"kernel_size": 3, "padding": 1}),
        ((2, 6, 8, 8), {"kernel_size": 2, "dilation": 2}),
        ((2, 6, 7, 7), {"kernel_size": 2, "ceil_mode": True}),
        ((2, 6, 8, 8), {"kernel_size": 1, "stride": 2}),
        ((2, 1, 8, 8), {"kernel_size": 2}),
    ],
)
def test_what_is_not_simple_is_torchs_own(usual, shape, arguments):
    images = images_of(shape)
    assert torch.equal(max_pool2d(images, **arguments), F.max_pool2d(images, **arguments)) or images.isnan().any()
    assert usual


def test_gradients_indices_wide_images_and_refusals_are_torchs_own(usual):
    images = images_of((2, 6, 8, 8))
    with torch.no_grad():
        _, places = max_pool2d(images, 2, return_indices=True)
    assert torch.equal(places, F.max_pool2d(images, 2, return_indices=True)[1])
    leaf = images.nan_to_num().requires_grad_()
    max_pool2d(leaf, 2).sum().backward()
    assert leaf.grad.sum() == 2 * 6 * 4 * 4
    max_pool2d(images_of((2, 64, 8, 8), "channels_last"), 2)
    max_pool2d(images[:, :, ::2], 2)
    with pytest.raises(RuntimeError, match="too small"):
        max_pool2d(images, 9)
    for refused in ({"kernel_size": (2, 2, 2)}, {"kernel_size": 2, "stride": 0}, {"kernel_size": 2.0}):
        with pytest.raises((RuntimeError, TypeError)):
            max_pool2d(images, **refused)
    assert len(usual) == 8


@pytest.mark.parametrize("two", [np.int64(2), torch.tensor(2), [2], (np.int32(2), 2)])
def test_numbers_of_other_libraries_are_numbers(usual, two):
    images = images_of((2, 6, 8, 8)).nan_to_num()
    for stride in (two, None, [], ()):
        assert torch.equal(max_pool2d(images, two, stride), F.max_pool2d(images, 2))
    assert not usual
    weight = torch.randn(40, 6, 3, 3)
    assert torch.equal(conv2d(images, weight, None, two, two), F.conv2d(images, weight, None, 2, 2))


def test_a_run_has_the_same_bits_with_and_without_it(monkeypatch):
    config = small_config(model="alexnet", size=64, weights="random", images=6, batch=3, threads=1)
    prepared = prepare(config)

    def arrays():
        maker = make_chunk_maker(prepared.config, prepared, prepared.config.device)
        return maker.make(np.arange(6), lambda _: None, lambda *_: None)

    called = []
    stand_in = {F.max_pool2d: lambda *given, **named: called.append(1) or max_pool2d(*given, **named)}
    monkeypatch.setattr(step, "STAND_INS", stand_in)
    ours = arrays()
    assert called
    monkeypatch.setattr(step, "STAND_INS", {})
    theirs = arrays()
    assert ours.keys() == theirs.keys()
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


def test_a_modules_own_call_is_the_one_that_is_replaced():
    assert STAND_INS[F.max_pool2d] is STAND_INS[torch.max_pool2d] is max_pool2d
    seen = []

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    images = torch.rand(1, 2, 4, 4)
    with Mode():
        nn.MaxPool2d(2)(images)
    assert seen
    assert set(seen) <= set(STAND_INS)
