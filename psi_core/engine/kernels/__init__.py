"""Triton kernels for GPUs, each the one-pass form of code that runs everywhere and is its reference.

They are used where triton can compile them and they give the reference's numbers; PSI_KERNELS=0 leaves them out. To add
some: a module here with its `fits` and its `is_right_on`.
"""

import errno
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from subprocess import SubprocessError
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from psi_core.devices import Device
from psi_core.engine.devices import is_out_of_memory

_FAILURES = (
    *(RuntimeError, OSError, ImportError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
    *(AssertionError, SyntaxError, SubprocessError),
)
"""What a compiler raises that is not there, or does not know the device; besides errors of triton's own."""


def kernels_for(values: Tensor, name: str) -> ModuleType | None:
    """The kernels of that name, `one_pass`, `pooling` or `steps`, where they run on the device of these values.

    Raises:
        RuntimeError, MemoryError: there is no memory left to try them.
    """
    is_plain = type(values) is Tensor  # Not while a compiler traces.
    is_here = is_plain and values.is_cuda and _are_usable(values.device, name)
    return import_module(f"psi_core.engine.kernels.{name}") if is_here else None


def sums_on(device: Device) -> str | None:
    """What sums the layers of a run on a device: `kernels` or `torch`, which round otherwise; None on a CPU.

    Raises:
        RuntimeError, MemoryError: there is no memory left to try them.
    """
    if not device.is_cuda:
        return None
    return "kernels" if _are_usable(torch.device(device), "one_pass") else "torch"


@cache
def _are_usable(device: torch.device, name: str) -> bool:
    """Whether kernels, compiled for the device, give what they must. The answer is kept; no memory is none."""
    if os.environ.get("PSI_KERNELS") == "0" or find_spec("triton") is None:
        return False
    # In a thread of its own: it may be asked amid a forward, whose modes must neither see nor change the examples.
    with ThreadPoolExecutor(1, "kernels") as thread:
        return thread.submit(_are_right, device, name).result()


def _are_right(device: torch.device, name: str) -> bool:
    try:
        with torch.cuda.device(device):
            return bool(import_module(f"psi_core.engine.kernels.{name}").is_right_on(device))
    except _failures() as error:
        if is_out_of_memory(error):
            raise
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise MemoryError(str(error)) from error
        return False


def _failures() -> tuple[type[Exception], ...]:
    """The same with triton's own kind of error; where triton was not loaded, it raised none."""
    errors: Any = sys.modules.get("triton.errors")
    return _FAILURES if errors is None else (*_FAILURES, errors.TritonError)
