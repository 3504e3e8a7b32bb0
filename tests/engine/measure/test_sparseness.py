"""The measures: exact fractions, and laws that hold for any responses, streamed or not."""

from fractions import Fraction as Share
from math import inf, nan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from psi_core.engine.measure.reducer import Reducer, measure_of
from psi_core.engine.measure.sparseness import Moments, population_sparseness
from psi_core.measures import MEASURES
from psi_core.statistics.paired import population_sparseness as light_sparseness

ALLEN = [2.24, 3.6, 0.8, 2.4, 3.52, 5.68, 8.96, 0]
"""AllenSDK's own test responses."""

responses = st.lists(st.integers(0, 1000), min_size=2, max_size=12)


def psi(*rows):
    return population_sparseness(torch.tensor(np.array(rows, dtype=np.float64))).tolist()


def moments(output, **options):
    return Reducer(**options)(torch.as_tensor(output, dtype=torch.float32))[0]


@pytest.mark.parametrize(
    ("row", "share"),
    [
        ([1, 0, 0, 0], Share(1)),
        ([1, 1, 1, 1], Share(0)),
        ([1, 1, 0, 0], Share(2, 3)),
        ([1, 2, 3, 4], Share(2, 9)),
        (ALLEN, Share(7104, 16331)),
    ],
)
def test_the_index_is_this_fraction(row, share):
    assert psi(row) == [pytest.approx(float(share), abs=1e-12)]
    assert measure_of("psi", moments([row])).item() == pytest.approx(float(share), abs=1e-6)


@pytest.mark.parametrize(
    ("row", "n_eff", "gini", "hoyer", "zeros"),
    [
        ([1, 0, 0, 0], 1, 3 / 4, 1, 3 / 4),
        ([1, 1, 1, 1], 4, 0, 0, 0),
        ([1, 1, 0, 0], 2, 1 / 2, 0.5857864376, 1 / 2),
        ([1, 2, 3, 4], 10 / 3, 1 / 4, 0.1742581416, 0),
        (ALLEN, 11560 / 2333, 577 / 1360, 0.3294884613, 1 / 8),
    ],
)
def test_the_other_measures_have_these_values(row, n_eff, gini, hoyer, zeros):
    found = moments([row], measures=MEASURES)
    expected = {"n_eff": n_eff, "gini": gini, "hoyer": hoyer, "active_fraction": 1 - zeros}
    assert {name: measure_of(name, found).item() for name in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["n_eff", "hoyer", "kurtosis", "gini", "entropy"])
def test_a_silent_layer_has_none_of_them(name):
    assert np.isnan(measure_of(name, moments([[0, 0, 0]], measures=[name])).item())


def test_kurtosis_of_units_that_respond_alike_is_none():
    assert np.isnan(measure_of("kurtosis", moments([[0.1] * 1000], measures=["kurtosis"])).item())


@given(st.lists(responses, min_size=1, max_size=1))
def test_within_a_layer_hoyer_and_n_eff_rank_images_as_psi_does(rows):
    several = [rows[0], rows[0][::-1], [value**2 for value in rows[0]]]
    found = moments([row for row in several if any(row)] or [[1, 0]])
    order = measure_of("psi", found).round(decimals=5)
    for name, sign in (("hoyer", 1), ("n_eff", -1)):
        other = sign * measure_of(name, found)
        for one in range(len(order)):
            for two in range(len(order)):
                assert not (order[one] > order[two] and other[one] < other[two])


def test_the_index_is_what_allensdk_tests_for():
    assert psi(ALLEN) == [pytest.approx(0.43500091849856115, abs=1e-12)]


@pytest.mark.parametrize("row", [[0, 0, 0], [5], [0], []])
def test_a_silent_layer_or_a_single_unit_has_no_index(row):
    assert np.isnan(psi(row)).all()


@pytest.mark.parametrize(("rectify", "share", "active"), [("relu", Share(11, 15), 0.5), ("abs", Share(4, 9), 0.75)])
def test_signed_responses_are_rectified_before_they_are_summed(rectify, share, active):
    found = moments([[2, -1, 1, 0]], rectify=rectify)
    assert measure_of("psi", found).item() == pytest.approx(float(share), abs=1e-7)
    assert measure_of("active_fraction", found).item() == active


IMAGES = [[4, 0, 0, 1], [3, 1, 0, 0], [0, 0, 2, 1]]


def test_sparseness_over_units_over_images_and_of_the_mean_are_three_numbers():
    per_image = [Share(43, 51), Share(4, 5), Share(11, 15)]
    lifetime = [Share(13, 25), Share(1), Share(1), Share(1, 2)]
    assert psi(*IMAGES) == [pytest.approx(float(share), abs=1e-12) for share in per_image]
    assert np.mean(psi(*IMAGES)) == pytest.approx(float(Share(202, 255)), abs=1e-12)
    assert psi(*np.transpose(IMAGES)) == [pytest.approx(float(share), abs=1e-12) for share in lifetime]
    assert psi(np.mean(IMAGES, 0)) == [pytest.approx(float(Share(44, 87)), abs=1e-12)]


def test_active_fraction_and_mean_response_of_the_same_images():
    found = moments(IMAGES)
    assert measure_of("active_fraction", found).tolist() == [0.5, 0.5, 0.5]
    assert measure_of("mean_response", found).tolist() == [1.25, 1, 0.75]


@given(responses, st.floats(1e-6, 1e6))
def test_scale_does_not_matter(row, scale):
    np.testing.assert_allclose(psi([scale * r for r in row]), psi(row), atol=1e-9, equal_nan=True)


@given(responses, st.randoms(use_true_random=False))
def test_order_does_not_matter(row, random):
    np.testing.assert_allclose(psi(random.sample(row, len(row))), psi(row), atol=1e-12, equal_nan=True)


@given(st.integers(2, 400).flatmap(lambda units: st.tuples(st.integers(1, units), st.just(units))))
def test_k_ones_of_n_units(ones_of_units):
    ones, units = ones_of_units
    expected = (1 - ones / units) / (1 - 1 / units)
    row = [1] * ones + [0] * (units - ones)
    assert psi(row) == [pytest.approx(expected, abs=1e-12)]
    assert measure_of("psi", moments([row])).item() == pytest.approx(expected, abs=1e-6)


@given(st.lists(st.floats(0, 1e300), min_size=2, max_size=12))
def test_the_index_lies_in_0_to_1_or_is_nan(row):
    (index,) = psi(row)
    assert 0 <= index <= 1 or (not any(row) and np.isnan(index))


@settings(max_examples=25)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 2**32))
def test_any_split_into_batches_gives_the_same_numbers(sizes, seed):
    images = torch.randn(sum(sizes), 3, 5, 7, generator=torch.Generator().manual_seed(seed)).relu()
    whole, streamed = Reducer(measures=MEASURES), Reducer(measures=MEASURES)
    parts = [streamed(part)[0] for part in images.split(sizes)]
    for name in MEASURES:
        assert torch.equal(torch.cat([measure_of(name, part) for part in parts]), measure_of(name, whole(images)[0]))


@pytest.mark.parametrize("wrong", [-1e-9, nan, inf, -inf])
def test_responses_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="responses: some are"):
        psi([1, 2, wrong])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (np.ones((2, 3)), r"numpy.ndarray is no tensor; give torch.as_tensor\(responses\)"),
        ([[1, 2]], "list is no tensor"),
        (None, r"None is no tensor; give one of numbers \(batch, units\)"),
        (torch.ones(2, 3, dtype=torch.complex64), "the tensor holds complex numbers"),
        (torch.ones(2, 3).to_sparse(), "the tensor is sparse"),
    ],
)
def test_responses_of_another_kind_are_refused_with_what_to_give(wrong, sentence):
    with pytest.raises(ValueError, match=f"responses: {sentence}"):
        population_sparseness(wrong)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 4)])
def test_responses_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="flatten all axes after the first"):
        population_sparseness(torch.ones(shape))


@pytest.mark.parametrize("scale", [1e-300, 5e-324, 1e-30, 1e30, 1e300])
def test_very_large_and_very_small_responses_have_an_index(scale):
    assert psi([scale, scale, 0, 0]) == [pytest.approx(2 / 3, abs=1e-12)]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_responses_above_256_do_not_overflow(kind):
    halves = torch.tensor([[300, 600, 900, 1200]], dtype=kind)
    expected = population_sparseness(halves.double())
    assert 0 < expected.item() < 1
    assert torch.equal(population_sparseness(halves), expected)
    assert measure_of("psi", Reducer()(halves)[0]).item() == pytest.approx(expected.item(), abs=1e-6)


def test_rounding_is_clamped_and_nothing_else():
    def index(total):
        return measure_of("psi", Moments(2, *(torch.tensor([v], dtype=torch.float64) for v in (total, 1, 1)))).item()

    assert index((2 + 1e-7) ** 0.5) == 0
    assert np.isnan(index((2 + 1e-2) ** 0.5)), "no value outside 0..1 is ever published"


@given(st.lists(responses, min_size=1, max_size=4))
def test_readers_without_torch_have_the_same_index(rows):
    for row in rows:
        assert light_sparseness(np.array([row], dtype=float)).tolist() == pytest.approx(
            psi(row), abs=1e-12, nan_ok=True
        )
