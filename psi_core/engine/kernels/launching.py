"""How kernels are launched: on the device of their tensors, in a grid that CUDA takes."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

LARGEST_GRID = 65535
"""Programs along the second and third axis of a grid."""


def launch(
    kernel: Mapping[tuple[int, ...], Callable[..., Any]],
    grid: tuple[int, ...],
    first: Tensor,
    *others: Any,
    **options: Any,
) -> None:
    """Launches a kernel where its first argument lies.

    Triton takes the thread's current device and its stream, which in a notebook are another tensor's. The guard costs
    2.3 microseconds of the host's time, the look before it a seventh.
    """
    if first.is_cuda and first.get_device() != torch.cuda.current_device():
        with torch.cuda.device(first.device):
            kernel[grid](first, *others, **options)
    else:
        kernel[grid](first, *others, **options)
