"""Batches abreast: on a CPU, each thread computes a batch of its own instead of a part of every operation.

A small network's operations take microseconds, in which threads that share one spend their time waiting for each
other. Every batch is computed as one thread computes it alone, so that the numbers are the same.
"""

import copy
import itertools
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import astuple, replace

import numpy as np
import torch

from psi_core.engine.devices import cpu_threads
from psi_core.engine.measure.step import FusedStep, Inputs, StageSeconds, StepResult
from psi_core.engine.models.classifier import Classifier


class StepsAbreast:
    """Fused steps that run beside each other, each on a thread and with modules of its own; the weights are shared.

    Args:
        step: the first thread's; its network must keep nothing between forwards.
        count: how many run at once.
    """

    def __init__(self, step: FusedStep, count: int) -> None:
        # Taps listen to modules: two threads that ran the same ones would hear each other.
        others = [replace(step.plan, model=_sharing_weights(step.plan.model)) for _ in range(count - 1)]
        self._steps = [step, *map(FusedStep, others)]
        threads = [ThreadPoolExecutor(1, "abreast", _compute_alone) for _ in self._steps]
        self._turns = itertools.cycle(zip(self._steps, threads, strict=True))
        self._under_way: deque[Future[StepResult]] = deque()

    @property
    def seconds(self) -> StageSeconds:
        """Seconds spent so far, by stage: the threads' mean, which adds up to the time that passed."""
        spent = np.mean([astuple(step.seconds) for step in self._steps], 0)
        return StageSeconds(*spent.tolist())

    def at_work(self) -> AbstractContextManager[None]:
        """Every operation takes one thread within the block."""
        return cpu_threads(1)

    def leave(self) -> None:
        """Lets go of the batches under way; none is when it returns."""
        for batch in self._under_way:
            batch.cancel()
        wait(self._under_way)
        self._under_way.clear()

    def begin(self, inputs: Callable[[], Inputs]) -> "Future[StepResult]":
        """Begins a batch on the thread whose turn it is, at the precision of the thread that asks.

        Args:
            inputs: makes what the step takes, on that thread.
        """
        step, thread = next(self._turns)
        # Autocast is each thread's own.
        kind, is_lower = torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")

        def compute() -> StepResult:
            with torch.autocast("cpu", kind, enabled=is_lower):
                return step(*inputs())

        while self._under_way and self._under_way[0].done():
            self._under_way.popleft()
        batch = thread.submit(compute)
        self._under_way.append(batch)
        return batch


def _compute_alone() -> None:
    """Lets this thread take no other for its operations."""
    torch.get_num_threads()  # Before it is asked, torch may yet give it the number that another thread sets.
    torch.set_num_threads(1)


def _sharing_weights(model: Classifier) -> Classifier:
    """A copy of the modules, with the same tensors."""
    return copy.deepcopy(model, {id(each): each for each in (*model.parameters(), *model.buffers())})
