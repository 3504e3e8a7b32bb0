"""Reducer: a layer's output reduced to sums as it fires, and its measures from these."""

from collections.abc import Callable, Collection, Mapping
from types import ModuleType

import torch
from torch import Tensor

from psi_core.engine.kernels import kernels_for
from psi_core.engine.measure import sparseness
from psi_core.engine.measure.sparseness import Moments
from psi_core.engine.stand_ins.onlookers import is_transformed
from psi_core.engine.sums import BLOCK, cached_rows, flat_in_memory, sum_of_squares
from psi_core.measures import MEASURES

_EXACT_COUNT = 2**24
"""Below this, float32 counts without rounding."""

FAINT = 1e-30
"""Sum of squares below which float32 may have lost some: squares of responses below 1e-19 vanish in it."""

FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {name: getattr(sparseness, name) for name in MEASURES}
"""The function of every measure, which has its row's name: of Moments, or of (responses, total) if it costs a pass."""


def measure_of(name: str, moments: Moments) -> Tensor:
    """One measure of a layer, float64 (batch,)."""
    return moments.shape[name] if MEASURES[name].costs_a_pass else FUNCTIONS[name](moments)


class Reducer:
    """Reduces a layer's output to sums at once, while it is still in the cache; keeps none of it.

    Args:
        unit: `neuron` for every scalar, `channel` for the mean of every channel over its positions, `token` for that of
            every position over its channels.
        rectify: `none`, `relu` or `abs`, applied before anything is summed.
        measures: names; those that cost a pass of their own are taken too.
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
        costly = [row.name for row in MEASURES.values() if row.costs_a_pass and row.name in measures]
        self._shape_measures = {name: FUNCTIONS[name] for name in costly}
        self._scratch = _empty(0)
        self._rectified_sums: tuple[Tensor, Moments, Tensor] | None = None

    def __call__(self, output: Tensor, channel_axis: int = 1) -> tuple[Moments, Tensor]:
        """Sums over the units per image, and the mean response of every channel, float64 (batch, channel).

        Args:
            output: (batch, ...), of any floating type; summed in float32 blocks, then float64.
            channel_axis: axis along which its channels lie; all behind the batch but it are positions.
        """
        rectified, self._rectified_sums = self._rectified_sums, None
        if rectified is not None and rectified[0] is output and channel_axis == 1:
            return rectified[1:]
        whole = output.detach() if channel_axis == 1 else output.detach().movedim(channel_axis, 1)
        kernels = self._kernels_for(whole)
        if kernels is not None:
            return _found_by(kernels, whole, self.rectify)
        return self._in_parts(whole) if self._is_apart(whole) else self._at_once(whole)

    def relu(self, values: Tensor, *, in_place: bool = False) -> Tensor:
        """As torch's ReLU. Where it saves a way through memory, the sums of what it gives are taken with it.

        They are what the next call gives if it gets this output, in which nothing was changed meanwhile.

        Args:
            values: of any shape.
            in_place: whether the values themselves become the output.
        """
        has_gradient = torch.is_grad_enabled() and values.requires_grad
        is_asked = not has_gradient and self.rectify != "abs" and not is_transformed()
        kernels = self._kernels_for(values) if is_asked else None
        if kernels is None and not (is_asked and self._is_apart(values)):
            return torch.relu_(values) if in_place else torch.relu(values)
        output = values if in_place else torch.empty_like(values)
        if kernels is None:
            self._rectified_sums = output, *self._in_parts(output, values)
        else:
            self._rectified_sums = output, *_found_by(kernels, values, "relu", into=output)
            if in_place and not output.is_inference():  # A graph that has kept it must know.
                torch.autograd.graph.increment_version(output)
        return output

    def forget(self) -> None:
        """Lets go of an output that was not asked for."""
        self._rectified_sums = None

    def _kernels_for(self, output: Tensor) -> ModuleType | None:
        """A GPU's kernels where they give all that is asked of this output."""
        if not output.is_cuda or not self.in_parts or self.unit != "neuron" or self._shape_measures:
            return None
        kernels = kernels_for(output, "one_pass")
        return kernels if kernels is not None and kernels.fits(output) else None

    def _is_apart(self, output: Tensor) -> bool:
        """Whether sums are taken a few images at a time."""
        has_maps = self.unit == "neuron" and output.dim() > 2 and 0 < output[:1].numel() < _EXACT_COUNT
        return has_maps and self.in_parts and output.device.type == "cpu"

    def _at_once(self, output: Tensor) -> tuple[Moments, Tensor]:
        responses = self._rectified(output.float())
        channel_means = _channel_means(responses)
        if self.unit != "neuron":
            flat = channel_means if self.unit == "channel" else _token_means(responses)
            total = flat.sum(1)
            squares, active = flat.square().sum(1), (flat > 0).sum(1).double()
        else:
            flat = flat_in_memory(responses)
            total = _total(channel_means, flat.shape[1])
            squares = self._with_lost_ones(sum_of_squares(flat), total, flat)
            counts_exactly = flat.device.type == "cpu" and flat.shape[1] < _EXACT_COUNT
            # The signs' sum is three times as fast on a CPU as counting.
            active = (torch.sign(flat).sum(1) if counts_exactly else (flat > 0).sum(1)).double()
        shape = {name: measure(flat, total) for name, measure in self._shape_measures.items()}
        return Moments(flat.shape[1], total, squares, active, shape), channel_means

    def _in_parts(self, output: Tensor, before_relu: Tensor | None = None) -> tuple[Moments, Tensor]:
        """The same a few images at a time, through all sums while they are in a CPU's cache.

        Few operations a part, into memory that is there: fresh memory costs ten times a sum, and so does every wait for
        a thread on a busy machine.

        Args:
            output: (batch, channel, ...).
            before_relu: what the output is to be made of first; None where it is there.
        """
        images, channels, units = len(output), output.shape[1], output.shape[1:].numel()
        whole, rest, spatial = units // BLOCK, units % BLOCK, tuple(range(2, output.dim()))
        channel_sums, norms, active = _empty(images, channels), _empty(images, whole + bool(rest)), _empty(images)
        shape: dict[str, list[Tensor]] = {name: [] for name in self._shape_measures}
        for rows in cached_rows(output):
            part = output[rows]
            if before_relu is not None:
                torch.clamp_min(before_relu[rows], 0, out=part)
            responses = self._rectified(part.float())
            flat = flat_in_memory(responses)
            torch.sum(responses, spatial, out=channel_sums[rows])
            if whole:
                blocks = flat[:, : units - rest].view(len(flat), whole, BLOCK)
                torch.linalg.vector_norm(blocks, dim=2, out=norms[rows, :whole])
            if rest:
                torch.linalg.vector_norm(flat[:, units - rest :], dim=1, out=norms[rows, whole])
            torch.sum(self._signs(flat), 1, out=active[rows])
            if shape:
                total = _total(channel_sums[rows].double() / (units // channels), units)
                for name, measure in self._shape_measures.items():
                    shape[name].append(measure(flat, total))
        channel_means = channel_sums.double().div_(units // channels)
        total = _total(channel_means, units)
        squares = self._with_lost_ones(norms.double().square_().sum(1), total, output)
        measured = {name: torch.cat(each) for name, each in shape.items()}
        return Moments(units, total, squares, active.double(), measured), channel_means

    def _with_lost_ones(self, squares: Tensor, total: Tensor, responses: Tensor) -> Tensor:
        """Sums of squares, those that float32 has lost taken in float64; 0 where a second look would have to wait.

        Squares of responses below 1e-19 vanish in float32, those above 1e19 are infinite. On a CPU a look at the
        smallest and the largest sum costs nothing. A GPU would have to wait for it, and a compiler cannot: there 0
        stands for a sum that vanished, from which measures become NaN.
        """
        if responses.device.type != "cpu" or not self.in_parts:
            return torch.where((squares < FAINT) & (total > 0), 0.0, squares)
        if not len(squares) or (squares.amin() >= FAINT and squares.amax() < torch.inf):
            return squares
        lost = ((squares < FAINT) & (total > 0)) | (torch.isinf(squares) & torch.isfinite(total))
        exact = self._rectified(responses[lost].double()).flatten(1)
        return squares.masked_scatter(lost, exact.square().sum(1))

    def _rectified(self, responses: Tensor) -> Tensor:
        if self.rectify == "relu":
            return responses.relu()
        return responses.abs() if self.rectify == "abs" else responses

    def _signs(self, flat: Tensor) -> Tensor:
        """1 where a response is above 0, in a buffer that is kept."""
        if self._scratch.numel() < flat.numel():
            self._scratch = _empty(flat.numel())
        return torch.sign(flat, out=self._scratch[: flat.numel()].view(flat.shape))


def _found_by(kernels: ModuleType, values: Tensor, rectify: str, into: Tensor | None = None) -> tuple[Moments, Tensor]:
    moments, channel_means = kernels.one_pass(values, rectify, FAINT, into)
    return Moments(values.shape[1:].numel(), *moments.unbind()), channel_means


def _empty(*shape: int) -> Tensor:
    """Memory for float32 numbers, whatever type a notebook has made torch's default."""
    return torch.empty(shape, dtype=torch.float32)


def _total(channel_means: Tensor, units: int) -> Tensor:
    return channel_means.sum(1).mul_(units / channel_means.shape[1])


def _channel_means(responses: Tensor) -> Tensor:
    """Mean response of every channel, float64 (batch, channel)."""
    if responses.dim() == 2:
        return responses.double()
    return responses.sum(tuple(range(2, responses.dim()))).double() / responses.shape[2:].numel()


def _token_means(responses: Tensor) -> Tensor:
    """Mean response of every position of (batch, channel, ...), float64 (batch, position)."""
    return responses.sum(1).flatten(1).double() / responses.shape[1]
