"""Where the time of a step goes, told without making the device wait."""

import time
from collections import deque
from dataclasses import dataclass

import torch


@dataclass(slots=True)
class StageSeconds:
    """Seconds spent in the three kinds of work.

    Attributes:
        benign: forward of the benign images, measured; of a compiled step also the gradient.
        gradient: of the loss with respect to them.
        attacked: making and measuring the other conditions.
    """

    benign: float = 0.0
    gradient: float = 0.0
    attacked: float = 0.0


class StageClock:
    """Adds up seconds by stage: by the clock on a CPU, by events in the stream on CUDA, which wait for nothing.

    Args:
        device: `cpu` or `cuda:K`.

    Attributes:
        seconds: of the stages that are over, as far as `settle` has looked.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.seconds = StageSeconds()
        self._device = torch.device(device)
        self._began = 0.0
        self._marks: deque[tuple[str, torch.cuda.Event]] = deque()

    def start(self) -> None:
        """Begins a step."""
        self.lap("")

    def lap(self, stage: str) -> None:
        """Ends a stage: the time since `start` or the last lap is its own."""
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self._device))
            self._marks.append((stage, event))
            return
        now = time.perf_counter()
        if stage:
            self._add(stage, now - self._began)
        self._began = now

    def settle(self) -> None:
        """Takes in what the device has finished since."""
        while len(self._marks) > 1 and self._marks[1][1].query():  # type: ignore[no-untyped-call]
            _, before = self._marks.popleft()
            stage, after = self._marks[0]
            if stage:
                self._add(stage, before.elapsed_time(after) / 1000)

    def _add(self, stage: str, seconds: float) -> None:
        setattr(self.seconds, stage, getattr(self.seconds, stage) + seconds)
