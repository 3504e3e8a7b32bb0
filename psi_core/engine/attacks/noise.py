"""Counter-based random numbers: a function of seed, image, condition and draw, the same on every device.

SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195) in wrapping int64 arithmetic. Batch size, resume
and number of workers cannot change a number, since none has a state.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15
_CACHED_WORDS = 2**19
"""Words that are made at a time on a CPU: they stay in its cache on their way from counters to numbers."""

_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def _signed(value: int) -> int:
    """The int64 with the same 64 bits."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _shift_right(words: Tensor, bits: int) -> Tensor:
    """Logical shift, in memory of its own; torch's own shift repeats the sign bit."""
    return (words >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix(words: Tensor) -> Tensor:
    words = _shift_right(words, 30).bitwise_xor_(words).mul_(_signed(_MULTIPLIERS[0]))
    words = _shift_right(words, 27).bitwise_xor_(words).mul_(_signed(_MULTIPLIERS[1]))
    return _shift_right(words, 31).bitwise_xor_(words)


def _counters(count: int, device: torch.device) -> Tensor:
    """What the words of an image add to its key, int64 (count,)."""
    return torch.arange(1, count + 1, dtype=torch.int64, device=device) * _signed(_GAMMA)


def splitmix64(state: Tensor) -> Tensor:
    """The number that follows each int64 state."""
    return _mix(state + _signed(_GAMMA))


@dataclass(frozen=True, slots=True)
class Noise:
    """Random numbers for the images of a batch under one condition.

    Attributes:
        seed: seed of the run, 0..2**63-1.
        indices: int64 (batch,), positions of the images in the data set, on the device that wants the numbers.
        stream: CRC-32 of the condition's name.
    """

    seed: int
    indices: Tensor
    stream: int

    def of(self, rows: slice) -> "Noise":
        """The same for some images of the batch."""
        return replace(self, indices=self.indices[rows])

    def words(self, draw: int, count: int) -> Tensor:
        """`count` random 64-bit words per image, int64 (batch, count).

        Args:
            draw: number of the draw, 0..2**31-1; another draw gives other numbers.
            count: how many.
        """
        return _mix(self.keys(draw)[:, None] + _counters(count, self.indices.device))

    def keys(self, draw: int = 0) -> Tensor:
        """What the words of every image are counted on from, int64 (batch,)."""
        # Filled on the device: a number that is copied there waits for all that is queued.
        seeded = splitmix64(torch.full((), self.seed, dtype=torch.int64, device=self.indices.device))
        return splitmix64(splitmix64(seeded ^ self.indices) ^ ((draw << 32) | self.stream))

    def signs(self, like: Tensor, draw: int = 0) -> Tensor:
        """+1 or -1 with equal chance for every element of `like` (batch, ...), independent; in its type.

        Element number e of an image, counted in row-major order, takes bit e % 64 of word e // 64.
        """
        elements = like.shape[1:].numel()
        packed = self.words(draw, -(-elements // 64)).view(torch.uint8)
        bits = (packed[:, :, None] >> torch.arange(8, dtype=torch.uint8, device=packed.device)) & 1
        shaped = _shaped(bits.flatten(1)[:, :elements], like)  # While they are bytes: a fourth of the memory.
        return shaped.to(like.dtype).mul_(2).sub_(1)

    def uniform(self, like: Tensor, draw: int = 0) -> Tensor:
        """Uniform numbers in [-1, 1) for every element of `like` (batch, ...), independent; in its type.

        Element number e takes the highest 24 bits of word e: every value is exact in float32.
        """
        elements = like.shape[1:].numel()
        parts = [
            _shift_right(part.words(draw, elements), 40).to(like.dtype).mul_(2.0**-23).sub_(1)
            for part in self._in_parts(elements)
        ]
        return _shaped(torch.cat(parts), like)

    def normal(self, like: Tensor, draw: int = 0) -> Tensor:
        """Standard normal numbers for every element of `like` (batch, ...), independent; in its type.

        Box & Muller (1958, doi:10.1214/aoms/1177706645) in float64 on pairs of words, so that devices agree but for
        the rounding of logarithm and cosine.
        """
        elements = like.shape[1:].numel()
        normal = torch.empty(len(like), elements, dtype=like.dtype, device=like.device)
        counters = _counters(2 * elements, like.device).view(2, elements)
        width = _CACHED_WORDS // 2 if like.device.type == "cpu" else elements
        start = 0
        for part in self._in_parts(2 * min(elements, width)):
            keys, rows = part.keys(draw)[:, None, None], normal[start : start + len(part.indices)]
            start += len(rows)
            for counted, found in zip(torch.split(counters, width, 1), torch.split(rows, width, 1), strict=True):
                words = _shift_right(_mix(keys + counted), 11).double()  # In units of 2^-53: no power of two rounds.
                radius = words[:, 0].mul_(-(2.0**-53)).log1p_().mul_(-2).sqrt_()
                found.copy_(radius.mul_(words[:, 1].mul_(2 * math.pi * 2.0**-53).cos_()))
        return _shaped(normal, like)

    def permutations(self, count: int, draw: int = 0) -> Tensor:
        """A random order of 0..count-1 for every image, int64 (batch, count)."""
        return self.words(draw, count).argsort(dim=1, stable=True)

    def _in_parts(self, count: int) -> "Iterator[Noise]":
        """The same for a few images at a time, `count` words of each: as many as a CPU's cache holds, elsewhere all."""
        rows = max(1, _CACHED_WORDS // count) if self.indices.device.type == "cpu" else len(self.indices)
        for indices in torch.split(self.indices, max(1, rows)):
            yield replace(self, indices=indices)


def _shaped(values: Tensor, like: Tensor) -> Tensor:
    """(batch, elements) as `like`, in its memory format too."""
    shaped = values.reshape(like.shape)
    if like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last):
        return shaped.contiguous(memory_format=torch.channels_last)
    return shaped
