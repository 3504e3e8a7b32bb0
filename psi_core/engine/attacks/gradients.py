"""Gradients of the loss with respect to the images, which attacks follow, and norms of the changes that they make."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psi_core.engine.sums import cached_parts, flat_in_memory, sum_of_squares
from psi_core.errors import ModelError


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


def input_gradient(model: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Logits and the gradient of the summed cross-entropy with respect to the images.

    Args:
        model: with frozen parameters, in eval mode.
        images: (batch, channel, height, width).
        labels: (batch,) int64, or None for the model's own choices.

    Raises:
        ModelError: the model's output has no gradient with respect to its input.
    """
    with torch.enable_grad():
        inputs = images.detach().requires_grad_()
        logits = model(inputs)
        return logits.detach(), gradient_of(logits, inputs, labels)


def gradient_of(logits: Tensor, inputs: Tensor, labels: Tensor | None) -> Tensor:
    """Gradient of the summed cross-entropy of `logits` with respect to the `inputs` that they came from."""
    targets = logits.detach().argmax(1) if labels is None else labels
    with torch.enable_grad():
        loss = losses(logits, targets).sum()
        gradient = torch.autograd.grad(loss, inputs, allow_unused=True)[0] if loss.requires_grad else None
    if gradient is None:
        raise ModelError("model: no gradient reaches its input; take torch.no_grad() and detach() out of its forward")
    return gradient


def losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image, float32 (batch,)."""
    return F.cross_entropy(logits.float(), labels, reduction="none")
