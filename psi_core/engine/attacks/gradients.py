"""Gradients of the loss with respect to the images, which attacks follow, and norms of the changes that they make."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psi_core.config import Loss
from psi_core.engine.kernels import kernels_for
from psi_core.engine.stand_ins import standing_in
from psi_core.engine.sums import cached_parts, flat_in_memory, sum_of_squares
from psi_core.errors import ModelError


def change_norms(changed: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """L-infinity and L2 norm of each image's change, float32 (batch,)."""
    kernels = kernels_for(images, "steps")
    if kernels is not None and kernels.fits(changed, images):
        norms: tuple[Tensor, Tensor] = kernels.norms(changed, images)
        return norms
    linf, squares = [], []
    for change in _changes(changed, images):
        # Eight times faster on a CPU than the norm itself, which takes absolute values one by one.
        linf.append(torch.maximum(change.amax(1), change.amin(1).neg()).abs())  # Of 0 and -0 either may be the larger.
        squares.append(sum_of_squares(change))
    return torch.cat(linf), torch.cat(squares).sqrt().float()


def l2_norms(changed: Tensor, images: Tensor) -> Tensor:
    """The L2 norms of `change_norms` alone, bit for bit; on a CPU for a third of their time."""
    if images.is_cuda:
        return change_norms(changed, images)[1]
    return torch.cat([sum_of_squares(change) for change in _changes(changed, images)]).sqrt().float()


def _changes(changed: Tensor, images: Tensor) -> Iterator[Tensor]:
    """What was added to the images, (image, value) in the order of memory, as many at a time as a CPU's cache holds."""
    for after, before in zip(cached_parts(changed), cached_parts(images), strict=True):
        yield flat_in_memory(after - before)


def input_gradient(
    model: nn.Module, images: Tensor, labels: Tensor | None, loss: Loss = "margin"
) -> tuple[Tensor, Tensor]:
    """Logits and the gradient of the summed loss with respect to the images.

    Args:
        model: network with frozen parameters, in eval mode.
        images: (batch, channel, height, width).
        labels: (batch,) int64, or None for the model's own choices.
        loss: `margin` or `cross-entropy`.

    Raises:
        ModelError: the model's output has no gradient with respect to its input.
    """
    inputs = images.detach().requires_grad_()
    logits = with_graph(model, inputs)
    return logits.detach(), gradient_of(logits, inputs, labels, loss)


def with_graph(model: nn.Module, inputs: Tensor) -> Tensor:
    """What a model gives for images that require a gradient, with its graph.

    The gradient is then the one that a run follows, bit for bit: the model calls the same stand-ins.
    """
    with torch.enable_grad(), standing_in(inputs.device):
        given: Tensor = model(inputs)
        return given


def gradient_of(logits: Tensor, inputs: Tensor, labels: Tensor | None, loss: Loss = "margin") -> Tensor:
    """Gradient of the summed loss of `logits` with respect to the `inputs` that they came from."""
    targets = logits.detach().argmax(1) if labels is None else labels
    with torch.enable_grad():
        # The sum: an image's gradient must not depend on its batch.
        total = losses(logits, targets, loss).sum()
        gradient = torch.autograd.grad(total, inputs, allow_unused=True)[0] if total.requires_grad else None
    if gradient is None:
        raise ModelError("model: no gradient reaches its input; take torch.no_grad() and detach() out of its forward")
    return gradient


def losses(logits: Tensor, labels: Tensor, loss: Loss = "margin") -> Tensor:
    """Loss of each image, (batch,), float32, or float64 for float64 logits.

    The margin is the lead of all other classes over the label's: logsumexp of their logits minus its own. The
    cross-entropy is softplus of it, so that both have gradients of one direction. In float32 the cross-entropy's is
    rounding noise where the network is sure: it is made of softmax minus 1, which cancels. The margin's keeps its
    digits.
    """
    scores = logits if logits.dtype == torch.float64 else logits.float()
    if loss == "cross-entropy":
        return F.cross_entropy(scores, labels, reduction="none")
    own = labels[:, None]
    return scores.scatter(1, own, -torch.inf).logsumexp(1) - scores.gather(1, own)[:, 0]
