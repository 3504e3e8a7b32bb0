"""Leaving no trace: a model is borrowed in eval mode with frozen parameters and comes back as it was."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def borrowed(model: nn.Module, device: torch.device | str = "cpu") -> Iterator[None]:
    """Eval mode and frozen parameters for the block; modes, requires_grad and the random state come back after it.

    Args:
        model: any module; each of its modules gets its own mode back.
        device: whose random state is kept, besides the CPU's.
    """
    device = torch.device(device)
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for module, _ in modes:
            module.training = False
        for parameter, _ in gradients:
            parameter.requires_grad_(False)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        for module, is_training in modes:
            module.training = is_training
        for parameter, has_gradient in gradients:
            parameter.requires_grad_(has_gradient)
