"""Stand-ins: functions of ours for slow ones of torch's that networks call, with its numbers up to rounding.

To add one: a module here, and the row of what it stands for in STAND_INS.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from psi_core.engine.stand_ins.first_convolution import conv2d
from psi_core.engine.stand_ins.pooling import max_pool2d

STAND_INS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.conv2d: conv2d,
    F.max_pool2d: max_pool2d,
    torch.max_pool2d: max_pool2d,
}
"""Functions, and what is called in their place."""


def standing_in(device: torch.device) -> AbstractContextManager[object]:
    """Within the block networks call the stand-ins that a gradient goes through: there are such on a CPU alone."""
    return _StandingIn() if device.type == "cpu" else nullcontext()


class _StandingIn(TorchFunctionMode):
    """Calls stand-ins in place of what they stand for."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the function or its stand-in."""
        return STAND_INS.get(func, func)(*args, **(kwargs or {}))
