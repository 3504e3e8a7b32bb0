"""Measures that need every response again, not only sums over them: each costs a pass over the layer.

To add one: a function here, its line in SHAPE_MEASURES, its name in `psi_core.measures`.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def kurtosis(responses: Tensor, total: Tensor) -> Tensor:
    """Excess kurtosis over the units, m4 / m2^2 - 3 of the central moments: high where few respond far more than most.

    Around the mean, not from raw sums: those cancel where the responses hardly differ. NaN where all respond alike.

    Args:
        responses: (batch, units), at least 0.
        total: their sums, float64 (batch,).

    Returns:
        float64 (batch,), at least -2.
    """
    units = responses.shape[1]
    # In units of the mean, since the measure is blind to scale but fourth powers soon overflow.
    powers = (responses * (units / total).to(responses.dtype)[:, None]).sub_(1)
    second = _sum(powers.square_())
    fourth = _sum(powers.square_())
    is_flat = second <= units * _ALIKE**2
    return torch.where(is_flat, torch.nan, fourth * units / second.square() - 3)


def gini(responses: Tensor, total: Tensor) -> Tensor:
    """Gini index (Hurley & Rickard 2009, doi:10.1109/TIT.2009.2027527), 0 to 1 - 1/N; NaN for a silent layer.

    0 means that all respond alike. Needs a sort, which costs more than the layer itself. Arguments and result as for
    `kurtosis`.
    """
    units = responses.shape[1]
    ranks = torch.arange(1, units + 1, dtype=torch.float64, device=responses.device)
    weighed = (responses.sort(1).values.double() * (2 * ranks - units - 1)).sum(1)
    return weighed / (units * total)


def entropy(responses: Tensor, total: Tensor) -> Tensor:
    """Entropy of the units' shares in the total response, in bits: 0, one unit, to log2 N, all alike; NaN if silent.

    Arguments and result as for `kurtosis`.
    """
    weighed = _sum(torch.special.xlogy(responses, responses)) / total
    return (total.log() - weighed) / math.log(2)


SHAPE_MEASURES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "kurtosis": kurtosis,
    "gini": gini,
    "entropy": entropy,
}

_ALIKE = 1e-6
"""Responses that differ by less than this share of their mean are alike up to rounding."""

_BLOCK = 256
"""Units are added up in float32 over blocks of this many, then in float64."""


def _sum(values: Tensor) -> Tensor:
    whole = values.shape[1] - values.shape[1] % _BLOCK
    blocks = values[:, :whole].reshape(len(values), -1, _BLOCK).sum(2, dtype=values.dtype).double().sum(1)
    return blocks + values[:, whole:].sum(1).double()
