"""Whether others look at what a network computes: transforms of torch.func, and hooks on what gradients keep.

A transform such as `vmap` hides axes and takes no memory to write into; a checkpoint, which computes a part of the
network again when the gradient comes back, counts on the same tensors being kept. Torch tells of both by private names
only: where one is missing, somebody may always look on.
"""

from collections.abc import Callable
from typing import Any

import torch

_TRANSFORMS: Callable[[], bool] = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)
_HOOKS: Callable[[bool], Any] = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", lambda _: True)


def is_transformed() -> bool:
    """Whether a transform of torch.func is at work."""
    return _TRANSFORMS()


def keeps_otherwise() -> bool:
    """Whether what a gradient needs is not simply kept until it comes back."""
    return _TRANSFORMS() or _HOOKS(False) is not None
