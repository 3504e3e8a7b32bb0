"""What only the engine can check of a network on a run's own images: whether an image's answer is its own, what its
outputs are, whether pixels are normalized once, and how many of its activations are measured.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from psi_core.devices import Device
from psi_core.engine.measure.step import StepPlan
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.layers import completeness_of
from psi_core.engine.precision import precision
from psi_core.errors import first_of

_SUM_ROUNDING = 1e-3
"""By how much probabilities may miss a sum of 1."""


class CannotTellError(Exception):
    """A check lacks what it needs."""


def alone_fields(model: nn.Module, images: Tensor, device: Device) -> dict[str, Any]:
    """How far each image's logits depend on which images share its batch, as a share of the largest logit.

    Raises:
        CannotTellError: there is one image, or chance decides too.
    """
    if len(images) < 2:
        raise CannotTellError("one image has no others to be among")
    with torch.no_grad(), precision("exact", device):
        among, again = model(images).double(), model(images).double()
        alone = torch.cat([model(image[None]).double() for image in images])
    largest = float(among.abs().max())
    if not torch.allclose(among, again, rtol=0, atol=1e-4 * largest):
        raise CannotTellError("two forwards of the same images differ already")
    fields: dict[str, Any] = {"alone_difference": float((among - alone).abs().max()) / largest if largest else 0.0}
    return {**fields, **({"alone_cause": cause} if (cause := _batch_normalizations(model)) else {})}


def _batch_normalizations(model: nn.Module) -> str:
    """Which modules take mean and variance from the batch; empty if none does."""
    names = [
        name.removeprefix("network.")
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None)
    ]
    return f"{first_of(names)} {'normalize' if len(names) > 1 else 'normalizes'} by the batch" if names else ""


def network_fields(plan: StepPlan, images: Tensor) -> dict[str, Any]:
    """What a run's event says of outputs, first layer and activations."""
    completeness = completeness_of(plan.trace, plan.layers)
    with torch.no_grad(), _first_input(plan.model) as seen:
        logits = plan.model(images).double()
    found = {
        "outputs": "logits" if plan.model.output == "sigmoid" else _kind_of(logits),
        "measured": completeness.measured,
        "activations": completeness.activations,
        "left_out": completeness.left_out,
    }
    if plan.model.is_normalized and seen:
        found["normalized_by"] = seen[0] / _largest_input(plan.model)
    return found


def _kind_of(logits: Tensor) -> str:
    """`probabilities` where rows lie in 0..1 and sum to 1, `sigmoids` where they only lie there, else `logits`."""
    is_within = bool(((logits >= 0) & (logits <= 1)).all())
    if is_within and bool(((logits.sum(1) - 1).abs() <= _SUM_ROUNDING).all()):
        return "probabilities"
    return "sigmoids" if is_within and bool(logits.any()) else "logits"


def _largest_input(model: Classifier) -> float:
    """The largest number, without its sign, that pixels in 0..1 become by the normalization."""
    ends = torch.stack([-model.mean / model.sd, (1 - model.mean) / model.sd])
    return float(ends.abs().max())


@contextmanager
def _first_input(model: Classifier) -> Iterator[list[float]]:
    """Receives the largest number, without its sign, that reaches the first module with parameters of its own."""
    seen: list[float] = []

    def see(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not seen and inputs and isinstance(inputs[0], Tensor) and inputs[0].numel():
            seen.append(float(inputs[0].detach().abs().max()))

    handles = [
        module.register_forward_pre_hook(see)
        for module in model.network.modules()
        if not isinstance(module, torch.jit.ScriptModule) and next(module.parameters(recurse=False), None) is not None
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
