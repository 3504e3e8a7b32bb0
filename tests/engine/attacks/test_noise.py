"""Counter-based noise: bit for bit the published SplitMix64, the same for any split of the images."""

import pytest
import torch

from psi_core.conditions import Condition
from psi_core.engine.attacks.noise import Noise, splitmix64

GAMMA = 0x9E3779B97F4A7C15
MASK = 2**64 - 1
STREAM = Condition("sign-noise", 0.03).stream


RECORDED_WORDS = ["8756048c549810df", "df55323c7da823df", "2fe9ab926f8c29e9"]
RECORDED_SIGNS = "+++++-++----+------++--+--+-+-+-"
"""Of image 42 with seed 7, so that runs made before and after a change can be compared."""


def mix(word):
    """SplitMix64"s output function, as published, in Python"s own integers."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)


def following(state):
    return mix((state + GAMMA) & MASK)


def words_in_python(seed, index, stream, draw, count):
    key = following(following(following(seed) ^ index) ^ ((draw << 32) | stream))
    return [mix((key + place * GAMMA) & MASK) for place in range(1, count + 1)]


def unsigned(words):
    return [word & MASK for word in words.tolist()]


def noise(*indices, seed=0, stream=STREAM):
    return Noise(seed, torch.tensor(indices), stream)


def test_seed_0_gives_the_published_sequence():
    states = [(place * GAMMA) & MASK for place in range(3)]
    signed = torch.tensor([state - 2**64 if state >= 2**63 else state for state in states])
    assert unsigned(splitmix64(signed)) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**63 - 1])
@pytest.mark.parametrize("draw", [0, 1, 2**31 - 1])
@pytest.mark.parametrize("stream", [0, STREAM, 2**32 - 1])
def test_words_equal_integer_arithmetic_without_torch(seed, draw, stream):
    for index, words in zip((0, 7, 9999), noise(0, 7, 9999, seed=seed, stream=stream).words(draw, 5), strict=True):
        assert unsigned(words) == words_in_python(seed, index, stream, draw, 5)


def test_signs_are_the_bits_of_the_words_from_the_lowest():
    like = torch.zeros(2, 3, 5, 9)
    signs = noise(3, 11, seed=5).signs(like, draw=2)
    for row, index in zip(signs.flatten(1), (3, 11), strict=True):
        words = words_in_python(5, index, STREAM, 2, 3)
        assert row.tolist() == [1.0 if words[e // 64] >> (e % 64) & 1 else -1.0 for e in range(3 * 5 * 9)]


def test_recorded_words_and_signs_have_not_changed():
    assert STREAM == 0xE1E66B05
    assert [f"{word:016x}" for word in unsigned(noise(42, seed=7).words(0, 3)[0])] == RECORDED_WORDS
    assert (
        "".join("+" if sign > 0 else "-" for sign in noise(42, seed=7).signs(torch.zeros(1, 32))[0]) == RECORDED_SIGNS
    )


def test_an_image_has_its_numbers_in_any_batch_and_order():
    like = torch.zeros(6, 1, 7, 7)
    whole = noise(*range(6)).signs(like)
    assert torch.equal(noise(5, 2, 0).signs(like[:3]), whole[[5, 2, 0]])
    assert torch.equal(torch.cat([noise(0, 1).signs(like[:2]), noise(2, 3, 4, 5).signs(like[2:])]), whole)


def test_more_words_begin_with_the_same_ones():
    assert torch.equal(noise(1, 2).words(0, 9)[:, :4], noise(1, 2).words(0, 4))


def test_layout_in_memory_and_precision_do_not_change_the_signs():
    like = torch.zeros(2, 3, 8, 8)
    signs = noise(1, 2).signs(like)
    assert torch.equal(noise(1, 2).signs(like.to(memory_format=torch.channels_last)), signs)
    halves = noise(1, 2).signs(like.half())
    assert halves.dtype == torch.float16
    assert torch.equal(halves.float(), signs)


def test_images_draws_conditions_and_seeds_have_numbers_of_their_own():
    others = [
        *(noise(0, seed=seed).words(0, 1) for seed in (0, 1, 2)),
        *(noise(0).words(draw, 1) for draw in (1, 2)),
        *(noise(index).words(0, 1) for index in (1, 2)),
        *(noise(0, stream=Condition("sign-noise", epsilon).stream).words(0, 1) for epsilon in (0.1, 0.2)),
    ]
    assert len({word.item() for word in others}) == len(others)


def test_signs_are_balanced_and_independent_of_their_neighbours():
    signs = noise(*range(100), seed=1).signs(torch.zeros(100, 3, 28, 28))
    elements = signs.numel()
    assert set(signs.unique().tolist()) == {-1, 1}
    # Of independent signs every such mean has a standard deviation of 1/sqrt(elements); 5 of them never happen.
    for product in (
        signs,
        signs[..., 1:] * signs[..., :-1],
        signs[..., 1:, :] * signs[..., :-1, :],
        signs[:, 1:] * signs[:, :-1],
        signs[1:] * signs[:-1],
    ):
        assert abs(product.mean().item()) < 5 / elements**0.5 * 1.3


def test_pixels_of_all_images_together_are_balanced():
    signs = noise(*range(400)).signs(torch.zeros(400, 1, 28, 28)).sum(0).flatten()
    chi_square = (signs.square() / 400).sum().item()
    assert abs(chi_square - 784) < 5 * (2 * 784) ** 0.5


def test_bytes_of_the_words_are_uniform():
    counts = torch.bincount(noise(*range(64)).words(0, 256).view(torch.uint8).flatten().long(), minlength=256).double()
    expected = counts.sum() / 256
    chi_square = ((counts - expected).square() / expected).sum().item()
    assert abs(chi_square - 255) < 5 * (2 * 255) ** 0.5
