"""Two scripts of fifty lines that do what a run does, and that the engine replaces; the bench compares them with it.

The usual way: a library attacks, hooks store every activation, PSI is computed afterwards. An expert's: one gradient
serves every epsilon, and hooks keep two sums of a layer instead of the layer. Both leave all tensors on the device.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psi_core.conditions import Condition

LIBRARIES = ("torchattacks", "foolbox")
"""Attack libraries that the bench knows; the first that is installed is taken."""

Attack = Callable[[Tensor, Tensor, float], Tensor]
"""Images, labels, epsilon -> changed images."""


def installed_library() -> str | None:
    """The attack library that the usual way takes on this machine, or None."""
    return next((name for name in LIBRARIES if find_spec(name) is not None), None)


def usual_way(
    library: str, model: nn.Module, conditions: tuple[Condition, ...]
) -> Callable[[Tensor, Tensor], dict[str, list[Tensor]]]:
    """A function that takes a batch, images and labels, and gives PSI (image,) of every ReLU module and condition.

    Args:
        library: one of LIBRARIES.
        model: network that takes pixels in 0..1.
        conditions: benign first. Every attack is computed as FGSM, every control as noise of its size.
    """
    attack = (_torchattacks_fgsm if library == "torchattacks" else _foolbox_fgsm)(model)
    layers = _relus(model)

    def measure(images: Tensor, labels: Tensor) -> dict[str, list[Tensor]]:
        psi: dict[str, list[Tensor]] = {name: [] for name in layers}
        for condition in conditions:
            if condition.is_benign:
                changed = images
            elif condition.is_control:
                changed = _noisy(images, condition.epsilon)
            else:
                changed = attack(images, labels, condition.epsilon)
            for name, activation in _stored_activations(model, layers, changed).items():
                psi[name].append(_psi(activation))
        return psi

    return measure


def _torchattacks_fgsm(model: nn.Module) -> Attack:
    torchattacks = import_module("torchattacks")

    def attack(images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
        changed: Tensor = torchattacks.FGSM(model, eps=epsilon)(images, labels)
        return changed

    return attack


def _foolbox_fgsm(model: nn.Module) -> Attack:
    foolbox = import_module("foolbox")
    device = next(model.parameters()).device
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device=device)

    def attack(images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
        changed: Tensor = foolbox.attacks.LinfFastGradientAttack()(bounded, images, labels, epsilons=epsilon)[1]
        return changed

    return attack


def _stored_activations(model: nn.Module, layers: dict[str, nn.Module], images: Tensor) -> dict[str, Tensor]:
    stored: dict[str, Tensor] = {}

    def store(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            stored[name] = output.detach().clone()  # The next layer may work in place.

        return hook

    handles = [module.register_forward_hook(store(name)) for name, module in layers.items()]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return stored


def expert_way(
    model: nn.Module, conditions: tuple[Condition, ...]
) -> Callable[[Tensor, Tensor], dict[str, list[Tensor]]]:
    """The same as of `usual_way`, as an expert would write it by hand; no library is needed.

    Args:
        model: network that takes pixels in 0..1, its parameters frozen.
        conditions: benign first. Every attack is computed as FGSM, every control as noise of its size.
    """
    layers = _relus(model)
    psi: dict[str, list[Tensor]] = {}

    def reduce(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            with torch.no_grad():
                psi[name].append(_psi(output))

        return hook

    def measure(images: Tensor, labels: Tensor) -> dict[str, list[Tensor]]:
        psi.update({name: [] for name in layers})
        handles = [module.register_forward_hook(reduce(name)) for name, module in layers.items()]
        try:
            with torch.enable_grad():
                inputs = images.detach().requires_grad_()
                loss = F.cross_entropy(model(inputs).float(), labels, reduction="sum")
                direction = torch.autograd.grad(loss, inputs)[0].sign_()
            with torch.inference_mode():
                for condition in conditions[1:]:
                    epsilon = condition.epsilon
                    fooled = not condition.is_control
                    changed = (images + epsilon * direction).clamp_(0, 1) if fooled else _noisy(images, epsilon)
                    model(changed)
        finally:
            for handle in handles:
                handle.remove()
        return {name: [*found] for name, found in psi.items()}

    return measure


def _relus(model: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.ReLU)}


def _noisy(images: Tensor, epsilon: float) -> Tensor:
    return (images + epsilon * torch.randn_like(images).sign()).clamp(0, 1)


def _psi(activation: Tensor) -> Tensor:
    responses = activation.flatten(1)
    units = responses.shape[1]
    activity = responses.mean(1).square() / responses.square().mean(1)
    return (1 - activity) / (1 - 1 / units)
