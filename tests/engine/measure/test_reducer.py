"""The streaming reducer: equal to float64 sums of the stored responses, however they lie in memory."""

import numpy as np
import pytest
import scipy.stats
import torch

from psi_core.engine.measure.reducer import Reducer, measure_of
from psi_core.engine.measure.sparseness import Moments, population_sparseness
from psi_core.measures import MEASURES

SHAPES = [
    *((units,) for units in (1, 2, 255, 256, 257, 4096, 9216)),
    *((6, 7), (3, 256), (5, 51)),
    *((3, 5, 7), (1, 16, 16), (1, 15, 17), (17, 24, 11), (64, 8, 8), (2, 1, 1)),
    (4, 3, 5, 7),
]


def planted(*shape):
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(len(shape)))


def laid_out(tensor, layout):
    """The same numbers, in another order in memory."""
    if layout == "channels_last":
        return tensor.to(memory_format=torch.channels_last)
    if layout == "not contiguous":
        wider = torch.full((*tensor.shape[:-1], 2 * tensor.shape[-1]), torch.nan)
        wider[..., ::2] = tensor
        return wider[..., ::2]
    return tensor.flip(0).flip(0) if layout == "contiguous" else tensor.transpose(-1, -2).clone().transpose(-1, -2)


def reference(output, unit="neuron"):
    """Moments and channel means in float64, from every response at once."""
    exact = output.double()
    means = exact.reshape(*exact.shape[:2], -1).mean(2)
    units = means if unit == "channel" else exact.flatten(1)
    total = units.sum(1)
    shape = {
        name: torch.tensor([plain(row.numpy()) for row in units], dtype=torch.float64)
        for name, plain in SHAPES_PLAINLY.items()
    }
    return Moments(units.shape[1], total, units.square().sum(1), (units > 0).sum(1).double(), shape), means


def plain_gini(row):
    """Half the mean absolute difference of any two units, over their mean."""
    if not row.any():
        return np.nan
    differences = [np.abs(part[:, None] - row).sum() for part in np.array_split(row, -(-len(row) // 64))]
    return sum(differences) / len(row) ** 2 / 2 / row.mean()


def plain_entropy(row):
    return scipy.stats.entropy(row, base=2) if row.any() else np.nan


def plain_kurtosis(row):
    return scipy.stats.kurtosis(row) if np.ptp(row) > 1e-6 * row.mean() else np.nan


SHAPES_PLAINLY = {"kurtosis": plain_kurtosis, "gini": plain_gini, "entropy": plain_entropy}


def require_equal(output, unit="neuron", rectify="none", accuracy=1e-6):
    found, means = Reducer(unit, rectify, MEASURES)(output)
    rectified = {"none": output, "relu": output.clamp(min=0), "abs": output.abs()}[rectify]
    expected, expected_means = reference(rectified, unit)
    assert found.units == expected.units
    assert torch.equal(found.active, expected.active)
    assert means.dtype == torch.float64
    assert means.shape == output.shape[:2]
    torch.testing.assert_close(means, expected_means, atol=accuracy, rtol=accuracy)
    for name in MEASURES:
        close = torch.testing.assert_close
        # The kurtosis of a few channel means that hardly differ shows every rounding of these.
        rtol = 200 * accuracy if name == "kurtosis" and unit == "channel" else 4 * accuracy
        close(measure_of(name, found), measure_of(name, expected), atol=accuracy, rtol=rtol, equal_nan=True, msg=name)


@pytest.mark.parametrize("unit", ["neuron", "channel"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_equal_a_float64_reference(shape, unit):
    require_equal(planted(*shape).relu(), unit)


@pytest.mark.parametrize("unit", ["neuron", "channel"])
@pytest.mark.parametrize("layout", ["channels_last", "contiguous", "not contiguous", "transposed"])
@pytest.mark.parametrize("shape", [(3, 5, 7), (6, 27, 27), (1, 9, 9)], ids=str)
def test_the_layout_in_memory_does_not_matter(shape, layout, unit):
    require_equal(laid_out(planted(*shape).relu(), layout), unit)


@pytest.mark.parametrize("layout", ["not contiguous", "transposed"])
@pytest.mark.parametrize("shape", [(11,), (6, 7), (2, 3, 5, 7)], ids=str)
def test_the_layout_of_other_shapes_does_not_matter(shape, layout):
    require_equal(laid_out(planted(*shape).relu(), layout))


@pytest.mark.parametrize("unit", ["neuron", "channel"])
@pytest.mark.parametrize("rectify", ["relu", "abs"])
@pytest.mark.parametrize("shape", [(256,), (6, 9), (5, 8, 8)], ids=str)
def test_signed_responses_are_rectified_first(shape, rectify, unit):
    require_equal(planted(*shape), unit, rectify)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_other_precisions_are_summed_in_float32_or_wider(kind, layout):
    require_equal((400 * laid_out(planted(6, 27, 27).relu(), layout)).to(kind))


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
@pytest.mark.parametrize("value", [0.1, 1e-3, 3.3])
@pytest.mark.parametrize("shape", [(64, 100, 100), (1, 300, 301), (40_001,)], ids=str)
def test_a_large_layer_that_responds_alike_has_index_0(shape, value, layout):
    output = torch.full((2, *shape), value)
    if len(shape) == 3:
        output = laid_out(output, layout)
    moments, means = Reducer()(output)
    torch.testing.assert_close(measure_of("psi", moments), torch.zeros(2).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(means, torch.full_like(means, output.max().item()), atol=0, rtol=1e-6)


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_a_large_layer_that_responds_almost_alike_keeps_its_digits(layout):
    noise = torch.rand(1, 64, 100, 100, generator=torch.Generator().manual_seed(0))
    output = laid_out(0.1 + 0.01 * noise, layout)
    found = measure_of("psi", Reducer()(output)[0])
    expected = population_sparseness(output.flatten(1))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1e6, 1e15])
def test_scale_does_not_matter(scale):
    output = planted(6, 27, 27).relu()
    found = measure_of("psi", Reducer()(scale * output)[0])
    torch.testing.assert_close(found, measure_of("psi", reference(output)[0]), atol=1e-6, rtol=0)


SHARES = ("psi", "hoyer", "n_eff")


@pytest.mark.parametrize("scale", [1e-17, 1e-20, 1e-23, 1e-30, 1e-36, 1e19, 1e25, 1e33])
@pytest.mark.parametrize("shape", [(6, 27, 27), (300,)], ids=str)
@pytest.mark.parametrize("rectify", ["none", "relu"])
def test_responses_whose_squares_are_lost_in_float32_have_the_same_measures(shape, scale, rectify):
    output = planted(*shape) if rectify == "relu" else planted(*shape).relu()
    output[1] *= scale
    found, expected = Reducer(rectify=rectify)(output)[0], reference(output.relu())[0]
    for name in SHARES:
        torch.testing.assert_close(measure_of(name, found), measure_of(name, expected), atol=1e-6, rtol=4e-6, msg=name)


@pytest.mark.parametrize("scale", [1e-20, 1e-23, 1e-30])
def test_where_a_second_look_would_have_to_wait_they_have_none(scale):
    output = planted(6, 27, 27).relu()
    output[1] *= scale
    output[2] = 0
    found = Reducer(in_parts=False)(output)[0]
    for name in SHARES:
        values = measure_of(name, found)
        assert values.isnan().tolist() == [False, True, True]
    assert found.total.isfinite().all()
    assert found.squares.isfinite().all()


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_nan_and_infinity_show_in_the_sums(wrong):
    output = planted(5, 8, 8).relu()
    output[1, 2, 3, 4] = wrong
    moments, _ = Reducer()(output)
    assert (torch.isfinite(moments.total) & torch.isfinite(moments.squares)).tolist() == [True, False, True]


def test_batches_of_other_sizes_see_only_their_own_units():
    reducer = Reducer()
    for images, value in ((4, 1), (2, 0), (6, 1), (6, 0)):
        output = torch.full((images, 5, 8, 8), float(value))
        assert reducer(output)[0].active.tolist() == images * [320 * value]


def test_the_output_is_left_as_it_was():
    output = planted(5, 8, 8).requires_grad_()
    before = output.detach().clone()
    moments, means = Reducer(rectify="abs")(output)
    assert torch.equal(output, before)
    assert not (moments.total.requires_grad or moments.squares.requires_grad or means.requires_grad)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("layout", ["channels_last", "contiguous", "not contiguous"])
@pytest.mark.parametrize("shape", [(6, 27, 27), (64, 100, 100), (3, 5, 7)], ids=str)
def test_a_relu_with_its_sums_gives_the_bits_of_both_apart(shape, layout, in_place):
    values = laid_out(planted(*shape), layout)
    values[0, 0] = -0.0
    expected = laid_out(values, layout).relu_() if in_place else values.relu()
    moments, means = Reducer(measures=MEASURES)(expected)
    reducer = Reducer(measures=MEASURES)
    given = laid_out(values, layout)
    output = reducer.relu(given, in_place=in_place)
    assert (output.data_ptr() == given.data_ptr()) is in_place
    assert output.stride() == (given.stride() if in_place else expected.stride())
    assert torch.equal(output, expected)
    sums_are_there = reducer._rectified_sums is not None
    found, found_means = reducer(output)
    assert sums_are_there
    assert all(torch.equal(getattr(found, kind), getattr(moments, kind)) for kind in ("total", "squares", "active"))
    assert torch.equal(found_means, means)
    for name in MEASURES:
        assert torch.equal(measure_of(name, found).nan_to_num(nan=-9), measure_of(name, moments).nan_to_num(nan=-9))


def test_sums_of_a_relu_are_given_for_its_own_output_alone():
    reducer = Reducer()
    output = reducer.relu(planted(6, 27, 27))
    other = output + 1
    assert torch.equal(reducer(other)[0].total, Reducer()(other)[0].total)
    output = reducer.relu(planted(6, 27, 27))
    reducer.forget()
    assert reducer._rectified_sums is None


@pytest.mark.parametrize("rectify", ["none", "abs"])
@pytest.mark.parametrize("shape", [(11,), (6, 27, 27)], ids=str)
def test_a_relu_with_a_gradient_is_torchs_own(shape, rectify):
    values = planted(*shape).requires_grad_()
    reducer = Reducer(rectify=rectify)
    output = reducer.relu(values)
    output.sum().backward()
    assert torch.equal(values.grad, (values > 0).float())
    assert reducer._rectified_sums is None
    assert torch.equal(reducer(output)[0].total, Reducer(rectify=rectify)(values.relu())[0].total)
