"""The measures of sparseness: from sums over a layer's units, in one shot or streamed.

With responses r >= 0 of N units, most follow from (sum r, sum r^2, share of r > 0, N); those that do not live in
`response_shape`. To add one: a function here, its line in MEASURES, its name in `psi_core.measures`.

Measures that need every response again, not only sums over them: each costs a pass over the layer.

To add one: a function here, its line in SHAPE_MEASURES, its name in `psi_core.measures`.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from psi_core.engine.sums import BLOCK, cached_parts, flat_in_memory, sum_of_squares
from psi_core.errors import DataError

_ROUNDING = 1e-6
"""The most that rounding can carry PSI beyond 0..1; anything further is left to be seen."""


_EXACT_COUNT = 2**24
"""Below this, float32 counts without rounding."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over the units of one layer, per image.

    Attributes:
        units: how many, N.
        total: sum of the responses, float64 (batch,).
        squares: sum of their squares, float64 (batch,).
        active: how many are above 0, float64 (batch,).
        shape: measures of SHAPE_MEASURES that were asked for, float64 (batch,) each.
    """

    units: int
    total: Tensor
    squares: Tensor
    active: Tensor
    shape: Mapping[str, Tensor] = field(default_factory=dict)


def psi(moments: Moments) -> Tensor:
    """Population sparseness index (Treves & Rolls 1991, Vinje & Gallant 2000): (1 - a) / (1 - 1/N), float64 (batch,).

    1 means one unit carries it all, 0 that all respond alike, NaN that the layer is silent or has one unit.
    """
    if moments.units < 2:
        return torch.full_like(moments.total, torch.nan)
    activity_ratio = n_eff(moments) / moments.units
    index = (1 - activity_ratio) / (1 - 1 / moments.units)
    near = (index >= -_ROUNDING) & (index <= 1 + _ROUNDING)
    return torch.where(near, index.clamp(0, 1), index)


def active_fraction(moments: Moments) -> Tensor:
    """Share of the units that respond above 0, float64 (batch,)."""
    return moments.active / moments.units


def mean_response(moments: Moments) -> Tensor:
    """Mean response of the units, float64 (batch,)."""
    return moments.total / moments.units


def n_eff(moments: Moments) -> Tensor:
    """Effective number of active units, (sum r)^2 / sum r^2, float64 (batch,): 1 to N; NaN for a silent layer."""
    return moments.total.square() / moments.squares


def hoyer(moments: Moments) -> Tensor:
    """Hoyer's sparseness (2004, JMLR 5, 1457-1469): (sqrt N - sum r / sqrt(sum r^2)) / (sqrt N - 1), float64 (batch,).

    1 means one unit carries it all, 0 that all respond alike, NaN that the layer is silent or has one unit.
    """
    if moments.units < 2:
        return torch.full_like(moments.total, torch.nan)
    root = moments.units**0.5
    index = (root - n_eff(moments).sqrt()) / (root - 1)
    near = (index >= -_ROUNDING) & (index <= 1 + _ROUNDING)
    return torch.where(near, index.clamp(0, 1), index)


def population_sparseness(responses: Tensor) -> Tensor:
    """How few of a layer's units carry each image's response.

    1 means one unit carries it all, 0 that all respond alike, NaN that the layer is silent or has one unit.
    Treves & Rolls 1991, rescaled to reach 1 as in Vinje & Gallant 2000.

    Args:
        responses: (batch, units) of one layer, none negative.

    Returns:
        (batch,) float64, 0 to 1, or NaN.

    Raises:
        ValueError: not of that shape, or a response is negative, NaN or infinite; the measure means nothing then.
    """
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


class Reducer:
    """Reduces a layer's output to sums at once, while it is still in the cache; keeps none of it.

    Args:
        unit: `neuron` for every scalar, `channel` for the spatial mean of every feature map.
        rectify: `none`, `relu` or `abs`, applied before anything is summed.
        measures: those of SHAPE_MEASURES among these are taken too, each by a pass of its own.
        in_parts: whether a CPU takes few images at a time through all sums, for its cache's sake; a compiler that makes
            one pass of them has no use for it.
    """

    def __init__(
        self,
        unit: str = "neuron",
        rectify: str = "none",
        measures: Collection[str] = (),
        *,
        in_parts: bool = True,
    ) -> None:
        self.unit = unit
        self.rectify = rectify
        self.in_parts = in_parts
        self._shape_measures = {name: SHAPE_MEASURES[name] for name in SHAPE_MEASURES if name in measures}
        self._scratch = torch.empty(0)

    def __call__(self, output: Tensor) -> tuple[Moments, Tensor]:
        """Sums over the units per image, and the mean response of every channel, float64 (batch, channel).

        Args:
            output: (batch, channel, ...), of any floating type; summed in float32 blocks, then float64.
        """
        whole = output.detach()
        has_maps = self.unit == "neuron" and whole.dim() > 2 and 0 < whole[:1].numel() < _EXACT_COUNT
        is_apart = has_maps and self.in_parts and whole.device.type == "cpu"
        return self._in_parts(whole) if is_apart else self._at_once(whole)

    def _at_once(self, output: Tensor) -> tuple[Moments, Tensor]:
        responses = self._rectified(output.float())
        channel_means = _channel_means(responses)
        if self.unit == "channel":
            flat, total = channel_means, channel_means.sum(1)
            squares, active = flat.square().sum(1), (flat > 0).sum(1).double()
        else:
            flat = flat_in_memory(responses)
            total = _total(channel_means, flat.shape[1])
            squares, active = sum_of_squares(flat), (flat > 0).sum(1).double()
        shape = {name: measure(flat, total) for name, measure in self._shape_measures.items()}
        return Moments(flat.shape[1], total, squares, active, shape), channel_means

    def _in_parts(self, output: Tensor) -> tuple[Moments, Tensor]:
        """The same a few images at a time, through all sums while they are in a CPU's cache.

        Few operations a part, into memory that is there: fresh memory costs ten times a sum, and so does every wait for
        a thread on a busy machine.
        """
        images, channels, units = len(output), output.shape[1], output[0].numel()
        channel_sums, norms = torch.empty(images, channels), torch.empty(images, -(-units // BLOCK))
        active = torch.empty(images)
        shape: dict[str, list[Tensor]] = {name: [] for name in self._shape_measures}
        whole, spatial = units // BLOCK, tuple(range(2, output.dim()))
        start = 0
        for part in cached_parts(output):
            rows = slice(start, start := start + len(part))
            responses = self._rectified(part.float())
            flat = flat_in_memory(responses)
            torch.sum(responses, spatial, out=channel_sums[rows])
            blocks = flat[:, : whole * BLOCK].reshape(len(flat), whole, BLOCK)
            norms[rows, :whole] = torch.linalg.vector_norm(blocks, dim=2)
            norms[rows, whole:] = torch.linalg.vector_norm(flat[:, whole * BLOCK :], dim=1, keepdim=True)
            torch.sum(self._signs(flat), 1, out=active[rows])
            if shape:
                total = _total(channel_sums[rows].double() / (units // channels), units)
                for name, measure in self._shape_measures.items():
                    shape[name].append(measure(flat, total))
        channel_means = channel_sums.double() / (units // channels)
        squares = norms.double().square().sum(1)
        measured = {name: torch.cat(each) for name, each in shape.items()}
        return Moments(units, _total(channel_means, units), squares, active.double(), measured), channel_means

    def _rectified(self, responses: Tensor) -> Tensor:
        if self.rectify == "relu":
            return responses.relu()
        return responses.abs() if self.rectify == "abs" else responses

    def _signs(self, flat: Tensor) -> Tensor:
        """1 where a response is above 0, in a buffer that is kept."""
        if self._scratch.numel() < flat.numel():
            self._scratch = torch.empty(flat.numel())
        return torch.sign(flat, out=self._scratch[: flat.numel()].view(flat.shape))


def _total(channel_means: Tensor, units: int) -> Tensor:
    return channel_means.sum(1) * (units / channel_means.shape[1])


def _channel_means(responses: Tensor) -> Tensor:
    """Mean response of every channel, float64 (batch, channel)."""
    if responses.dim() == 2:
        return responses.double()
    return responses.sum(tuple(range(2, responses.dim()))).double() / responses[0, 0].numel()


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


def _shape_measure(name: str) -> Callable[[Moments], Tensor]:
    return lambda moments: moments.shape[name]


MEASURES: Mapping[str, Callable[[Moments], Tensor]] = {
    "psi": psi,
    "active_fraction": active_fraction,
    "mean_response": mean_response,
    "n_eff": n_eff,
    "hoyer": hoyer,
    **{name: _shape_measure(name) for name in SHAPE_MEASURES},
}

_ALIKE = 1e-6
"""Responses that differ by less than this share of their mean are alike up to rounding."""


def _sum(values: Tensor) -> Tensor:
    whole = values.shape[1] - values.shape[1] % BLOCK
    blocks = values[:, :whole].reshape(len(values), -1, BLOCK).sum(2, dtype=values.dtype).double().sum(1)
    return blocks + values[:, whole:].sum(1).double()
