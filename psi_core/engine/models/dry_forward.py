"""The dry forward: what a network is, found out before any work, on a few images of noise.

Every network is traced once, with two images. One that is not known to be plain is also run with a gradient, with one
image, with three, and with channels last, so that what would end a run later, or change its numbers, is known before
it begins.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from psi_core.config import MemoryFormat
from psi_core.devices import CPU
from psi_core.engine.models.activations import unseen_activations
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.complaints import COMPLAINTS, complaint, refused_number
from psi_core.engine.models.layers import NetworkTrace, dry_images, trace_network
from psi_core.engine.models.sources import ModelSource, input_channels
from psi_core.engine.models.taps import Taps, untouched
from psi_core.engine.precision import precision
from psi_core.errors import ModelError

ALIKE = 1e-4
"""Largest distance of two outputs of an image, as a share of their length, that another order of sums explains."""

GRADIENTS_ALIKE = 0.1
"""The same for gradients: units within rounding of a ReLU's bend turn percents of one, AlexNet's by two."""


@dataclass(slots=True)
class _Forward:
    """What one forward with a gradient gave.

    Attributes:
        logits: (batch, classes).
        gradient: of a weighted sum of the logits with respect to the images.
        activations: outputs of every activation, in order.
        without_gradient: the first layer whose output needs no gradient, or empty.
        not_finite: the first layer that gave NaN or infinity, or empty.
        unseen: activations that no call has shown.
        apart: paths of activations that depend on the images and give no row for each of them.
    """

    logits: Tensor = field(default_factory=lambda: torch.empty(0))
    gradient: Tensor | None = None
    activations: list[Tensor] = field(default_factory=list)
    without_gradient: str = ""
    not_finite: str = ""
    unseen: Counter[str] = field(default_factory=Counter)
    apart: set[str] = field(default_factory=set)

    def is_like(self, other: "_Forward") -> bool:
        """Whether logits, gradient and all activations are the other's within rounding."""
        if self.gradient is None or other.gradient is None or len(self.activations) != len(other.activations):
            return False
        pairs = zip((self.logits, *self.activations), (other.logits, *other.activations), strict=True)
        return _are_alike(self.gradient, other.gradient, GRADIENTS_ALIKE) and all(_are_alike(*pair) for pair in pairs)


def dry_forward(
    classifier: Classifier, source: ModelSource, size: int, recorded: MemoryFormat | None = None
) -> NetworkTrace:
    """What a dry forward tells of a classifier, which is laid out in memory as its runs are.

    Channels last is taken where the network answers alike in it, which is faster; contiguous is what networks are
    written for.

    Args:
        classifier: with its weights; its `memory_format`, `output` and `keeps_nothing` are set.
        source: where its network comes from.
        size: size of its images in pixels.
        recorded: the memory format that a run began with, or None where it is to be found out.

    Raises:
        ModelError: it cannot be run or measured.
    """
    with precision("exact", CPU):
        channels = input_channels(classifier.network)
        trace = trace_network(classifier.network, channels, size)
        classifier.output, classifier.keeps_nothing = trace.output, source.keeps_nothing
        if source.is_plain:
            classifier.lay_out(recorded or "channels_last")
            return trace
        images = dry_images(channels, size).to(classifier.mean.device)
        plain = _checked_forward(classifier, images)
        classifier.lay_out(recorded or _fitting_format(classifier, images, plain))
        return replace(trace, unseen=tuple(sorted(plain.unseen.items())), apart=frozenset(plain.apart))


def _fitting_format(classifier: Classifier, images: Tensor, plain: _Forward) -> MemoryFormat:
    """The memory format in which a network runs as it is meant to, which its plain forward shows.

    Raises:
        ModelError: it does not run for one image alone, or not for more than it was first given.
    """
    for few in (images[:1], torch.cat([images, images[:1]])):
        try:
            with untouched(classifier, images.device), classifier.without_gradient():
                classifier(few)
        except COMPLAINTS as error:
            raise refused_number(error, len(few), len(images)) from None
    with classifier.kept_layout():
        classifier.lay_out("channels_last")
        try:
            return "channels_last" if _forward(classifier, images).is_like(plain) else "contiguous"
        except COMPLAINTS:
            return "contiguous"


def _checked_forward(classifier: Classifier, images: Tensor) -> _Forward:
    """A forward with a gradient, as the network was written.

    Raises:
        ModelError: there is no gradient, or the logits are not finite.
    """
    try:
        found = _forward(classifier, images)
    except COMPLAINTS as error:
        ways = {
            "heckpoint": "write use_reentrant=False in its checkpoint()",
            "numpy": "take numpy out of its forward",
            "Inference tensors": "take torch.inference_mode() out of the code that makes it",
        }
        way_out = next((way for word, way in ways.items() if word in str(error)), "mend its backward")
        raise ModelError(f"model: no gradient can be taken through it ({complaint(error)}); {way_out}") from None
    if not bool(found.logits.isfinite().all()):
        place = f", first after {found.not_finite}" if found.not_finite else ""
        raise ModelError(
            f"model: its logits are NaN or infinite for images in 0..1{place}; check its weights and --normalize"
        )
    if found.gradient is None:
        place = f" beyond {found.without_gradient}" if found.without_gradient else ""
        raise ModelError(
            f"model: no gradient reaches its input{place}; take torch.no_grad(), detach() and numpy out of its forward"
        )
    return found


def _forward(classifier: Classifier, images: Tensor) -> _Forward:
    found, seen = _Forward(), list[Any]()

    def receive(path: str, kind: str, output: Tensor) -> None:
        if not output.is_floating_point():
            return
        if not found.without_gradient and not output.requires_grad:
            found.without_gradient = path
        values = output.detach()  # Else the look at them would be part of what a checkpoint runs again.
        if not found.not_finite and not bool(values.isfinite().all()):
            found.not_finite = path
        if kind != "module":
            found.activations.append(values.clone())
            seen.append(output.grad_fn)
            if output.requires_grad and (output.dim() < 2 or len(output) != len(images)):
                found.apart.add(path)

    with untouched(classifier, images.device):
        torch.manual_seed(0)  # Where chance decides, it decides alike.
        with torch.enable_grad(), Taps(classifier.network, receive, with_modules=True):
            inputs = images.clone().requires_grad_()
            logits = classifier(inputs)
        found.logits = logits.detach()
        if logits.requires_grad:
            found.unseen = unseen_activations(logits, seen)
            weights = torch.linspace(-1, 1, logits.numel(), dtype=torch.float32, device=logits.device).view_as(logits)
            (found.gradient,) = torch.autograd.grad((logits * weights).sum(), inputs, allow_unused=True)
    return found


def _are_alike(first: Tensor, second: Tensor, share: float = ALIKE) -> bool:
    if first.shape != second.shape:
        return False
    one, other = first.double().flatten(1), second.double().flatten(1)
    distance = torch.linalg.vector_norm(one - other, dim=1)
    # Written so that NaN is not alike.
    return bool((distance <= share * torch.linalg.vector_norm(one, dim=1)).all())
