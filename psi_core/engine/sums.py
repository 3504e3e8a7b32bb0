"""Sums over the values of every image of a layer, in the order in which they lie in memory."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

BLOCK = 256
"""Squares are summed in float32 over blocks of this many units, then in float64. Where all units respond alike, the
index errs by 2e-7 with this block, by 4e-6 with 4096, and by 1e-3 with one long float32 sum."""

_CACHED_VALUES = 2**20
"""Values, about, that a CPU's cache holds: they are taken through all sums before the next ones come."""


def cached_parts(values: Tensor) -> tuple[Tensor, ...]:
    """Groups of images small enough for a CPU's cache; on other devices, all at once."""
    parts = min(len(values), round(values.numel() / _CACHED_VALUES)) if values.device.type == "cpu" else 1
    return torch.split(values, -(-len(values) // parts)) if parts > 1 else (values,)


def cached_rows(values: Tensor) -> Iterator[slice]:
    """The same groups as rows."""
    start = 0
    for part in cached_parts(values):
        yield slice(start, start := start + len(part))


def flat_in_memory(responses: Tensor) -> Tensor:
    """Every image's values in the order they lie in memory, (batch, units): sums do not care, and nothing is copied."""
    if responses.dim() == 4 and responses.is_contiguous(memory_format=torch.channels_last):
        return responses.permute(0, 2, 3, 1).flatten(1)
    if responses.dim() == 3 and responses.mT.is_contiguous():
        return responses.mT.flatten(1)
    return responses.contiguous().flatten(1)


def sum_of_squares(flat: Tensor) -> Tensor:
    """Sum of squares of every row of (batch, units), float64 (batch,), in float32 over short blocks only."""
    return _blocked(flat, lambda block: torch.linalg.vector_norm(block, dim=-1).double().square())


def _blocked(flat: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """A reduction over blocks of units, added up in float64."""
    whole = flat.shape[1] - flat.shape[1] % BLOCK
    total = reduce(flat[:, whole:]).double()
    if whole:
        # Not -1: of no image any number of blocks would do.
        total = total + reduce(flat[:, :whole].reshape(len(flat), whole // BLOCK, BLOCK)).double().sum(1)
    return total
