"""Norms of what was done to images: what an attack realized, after clipping and rounding."""

import torch
from torch import Tensor

from psi_core.engine.sparseness import cached_parts, flat_in_memory, sum_of_squares


def change_norms(changed: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """L-infinity and L2 norm of each image's change, float32 (batch,)."""
    pairs = zip(cached_parts(changed), cached_parts(images), strict=True)
    linf, squares = [], []
    for after, before in pairs:
        change = flat_in_memory(after - before)
        # Eight times faster on a CPU than the norm itself, which takes absolute values one by one.
        linf.append(torch.maximum(change.amax(1), change.amin(1).neg()).abs())  # Of 0 and -0 either may be the larger.
        squares.append(sum_of_squares(change))
    return torch.cat(linf), torch.cat(squares).sqrt().float()
