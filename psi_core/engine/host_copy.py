"""A batch's numbers on their way from the device, in one copy that nothing waits for until they are wanted."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from psi_core.engine.step import StepResult


class HostCopy:
    """The copy of one batch's numbers, under way.

    On CUDA it is queued behind the batch, into pinned memory, so that the next batch can be queued at once; on a CPU
    the numbers are there already.

    Args:
        result: of a step.

    Attributes:
        channel_means: as in the result; they stay on the device.
    """

    def __init__(self, result: StepResult) -> None:
        self.channel_means = result.channel_means
        self._is_cuda = result.values.is_cuda
        self._values = self._begun(result.values)
        self._labels = self._begun(result.labels)
        self._targets = None if result.targets is None else self._begun(result.targets)
        if self._is_cuda:
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record(torch.cuda.current_stream(result.values.device))

    def wait(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64] | None]:
        """Values (row, image), labels (image,), and targets (image,) or None."""
        if self._is_cuda:
            self._copied.synchronize()
        targets = None if self._targets is None else self._targets.numpy()
        return self._values.numpy(), self._labels.numpy(), targets

    def _begun(self, values: Tensor) -> Tensor:
        if not self._is_cuda:
            return values
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        return host.copy_(values, non_blocking=True)
