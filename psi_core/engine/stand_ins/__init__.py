"""Stand-ins: functions of ours for some of torch's that networks call, with its numbers up to rounding.

What they stand for is slow, or has other bits each time.

To add one: a module here, and the row of what it stands for in STAND_INS.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from psi_core.engine.stand_ins.first_convolution import conv2d
from psi_core.engine.stand_ins.interpolation import interpolate
from psi_core.engine.stand_ins.pooling import max_pool2d

STAND_INS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.conv2d: conv2d,
    F.max_pool2d: max_pool2d,
    torch.max_pool2d: max_pool2d,
    F.interpolate: interpolate,
}
"""Functions, and what is called in their place."""

_ON_GPUS: Mapping[Callable[..., Any], Callable[..., Any]] = {F.interpolate: interpolate}
"""Those that a gradient goes through there; the others are for a CPU, or for where none is wanted."""


def standing_in(device: torch.device) -> AbstractContextManager[object]:
    """Within the block networks call the stand-ins that a gradient goes through on a device."""
    return _StandingIn(STAND_INS if device.type == "cpu" else _ON_GPUS)


class _StandingIn(TorchFunctionMode):
    """Calls stand-ins in place of what they stand for."""

    def __init__(self, stand_ins: Mapping[Callable[..., Any], Callable[..., Any]]) -> None:
        super().__init__()
        self._stand_ins = stand_ins

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the function or its stand-in."""
        return self._stand_ins.get(func, func)(*args, **(kwargs or {}))
