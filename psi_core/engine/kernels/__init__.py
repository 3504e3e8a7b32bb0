"""Triton kernels for GPUs, each the one-pass form of code that runs everywhere and is its reference.

They are used where triton can compile them and they give the reference's sums; PSI_KERNELS=0 leaves them out.
"""

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from subprocess import SubprocessError
from types import ModuleType

import torch
from torch import Tensor

from psi_core.devices import Device
from psi_core.engine.devices import current_device


def kernels_for(values: Tensor, name: str) -> ModuleType | None:
    """The kernels of that name, `one_pass`, `pooling` or `steps`, where they run on the device of these values."""
    is_plain = type(values) is Tensor  # Not while a compiler traces.
    is_here = is_plain and values.is_cuda and _are_usable(values.device)
    return import_module(f"psi_core.engine.kernels.{name}") if is_here else None


def sums_on(device: Device) -> str | None:
    """What sums the layers of a run on a device: `kernels` or `torch`, which round otherwise; None on a CPU."""
    if not device.is_cuda:
        return None
    with current_device(device):
        return "kernels" if _are_usable(torch.device(device)) else "torch"


@cache
def _are_usable(device: torch.device) -> bool:
    """Whether a small example, compiled for the device, gives the sums that it must."""
    if os.environ.get("PSI_KERNELS") == "0" or find_spec("triton") is None:
        return False
    example = torch.linspace(-1, 1, 2 * 5 * 7, device=device).view(2, 5, 7).mT
    try:
        from psi_core.engine.kernels.one_pass import one_pass  # Not at the top: triton is not everywhere.

        moments, _ = one_pass(example, "relu", 0.0)
    except (RuntimeError, OSError, ImportError, ValueError, TypeError, AttributeError, SubprocessError):
        return False  # No compiler for its launcher, or a device that it does not know.
    expected = example.relu().double().square().sum((1, 2))
    return torch.allclose(moments[1], expected, rtol=1e-6)
