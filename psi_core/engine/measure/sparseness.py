"""The measures of sparseness, of responses r >= 0 of the N units of a layer.

Most follow from sums (sum r, sum r^2, share of r > 0, N), which are taken anyway; a few need every response again.
To add one: a function here, of Moments or of the responses and their sums, and the row of its name in
`psi_core.measures`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from psi_core.engine.python_values import require_tensor
from psi_core.engine.sums import BLOCK
from psi_core.errors import DataError

_ROUNDING = 1e-6
"""The most that rounding can carry an index beyond 0..1."""

_ALIKE = 1e-6
"""Responses that differ by less than this share of their mean are alike up to rounding."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over the units of one layer, per image.

    Attributes:
        units: how many, N; of many layers at once float64 (layer, 1), and the sums (..., layer, batch).
        total: sum of the responses, float64 (batch,).
        squares: sum of their squares, float64 (batch,).
        active: how many are above 0, float64 (batch,).
        shape: measures that cost a pass of their own and were asked for, by name, float64 (batch,) each.
    """

    units: int | Tensor
    total: Tensor
    squares: Tensor
    active: Tensor
    shape: Mapping[str, Tensor] = field(default_factory=dict)


def psi(moments: Moments) -> Tensor:
    """Population sparseness index (Treves & Rolls 1991, Vinje & Gallant 2000): (1 - a) / (1 - 1/N), float64 (batch,).

    1 means one unit carries it all, 0 that all respond alike, NaN that the layer is silent or has one unit.
    """
    if not isinstance(moments.units, Tensor) and moments.units < 2:
        return torch.full_like(moments.total, torch.nan)
    activity_ratio = n_eff(moments) / moments.units
    index = (1 - activity_ratio) / (1 - 1 / moments.units)
    return _within_0_and_1(index, moments.units)


def _within_0_and_1(index: Tensor, units: int | Tensor) -> Tensor:
    """The index, clamped where rounding has carried it out of 0..1; NaN where only lost sums can, or of one unit."""
    is_index = (index >= -_ROUNDING) & (index <= 1 + _ROUNDING)
    if isinstance(units, Tensor):
        is_index &= units > 1
    return torch.where(is_index, index.clamp(0, 1), torch.nan)


def active_fraction(moments: Moments) -> Tensor:
    """Share of the units that respond above 0, float64 (batch,)."""
    return moments.active / moments.units


def mean_response(moments: Moments) -> Tensor:
    """Mean response of the units, float64 (batch,)."""
    return moments.total / moments.units


def n_eff(moments: Moments) -> Tensor:
    """Effective number of active units, (sum r)^2 / sum r^2, float64 (batch,): 1 to N.

    NaN for a silent layer, and for one so faint that its sum of squares could not be distinguished from 0.
    """
    return torch.where(moments.squares > 0, moments.total.square() / moments.squares, torch.nan)


def hoyer(moments: Moments) -> Tensor:
    """Hoyer's sparseness (2004, JMLR 5, 1457-1469): (sqrt N - sum r / sqrt(sum r^2)) / (sqrt N - 1), float64 (batch,).

    1 means one unit carries it all, 0 that all respond alike, NaN that the layer is silent or has one unit.
    """
    if not isinstance(moments.units, Tensor) and moments.units < 2:
        return torch.full_like(moments.total, torch.nan)
    root = moments.units**0.5
    index = (root - n_eff(moments).sqrt()) / (root - 1)
    return _within_0_and_1(index, moments.units)


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


def population_sparseness(responses: Tensor) -> Tensor:
    """How few of a layer's units carry each image's response.

    1 means one unit carries it all, 0 that all respond alike, NaN that the layer is silent or has one unit.
    Treves & Rolls 1991, rescaled to reach 1 as in Vinje & Gallant 2000.

    Args:
        responses: (batch, units) of one layer, none negative.

    Returns:
        (batch,) float64, 0 to 1, or NaN.

    Raises:
        ValueError: no tensor of real numbers, not of that shape, or a response is negative, NaN or infinite; the
            measure means nothing then.
    """
    require_tensor("responses", responses, "numbers (batch, units)")
    if responses.dim() != 2:
        raise DataError(f"responses: {tuple(responses.shape)} is not (batch, units); flatten all axes after the first")
    exact = responses.detach().double()
    if not torch.isfinite(exact).all():
        raise DataError("responses: some are NaN or infinite; mend the network before measuring it")
    if (exact < 0).any():
        raise DataError("responses: some are negative; rectify them first, with relu() or abs()")
    # Scaled to a largest response of 1, since the measure does not depend on scale but squares can overflow.
    peak = exact.amax(1, keepdim=True) if exact.shape[1] else exact.new_zeros(len(exact), 1)
    scaled = exact / torch.where(peak > 0, peak, 1)
    return psi(Moments(exact.shape[1], scaled.sum(1), scaled.square().sum(1), (scaled > 0).sum(1).double()))


def _sum(values: Tensor) -> Tensor:
    whole = values.shape[1] - values.shape[1] % BLOCK
    blocks = values[:, :whole].reshape(len(values), whole // BLOCK, BLOCK).sum(2, dtype=values.dtype).double().sum(1)
    return blocks + values[:, whole:].sum(1).double()
