"""The fused step recorded: a GPU that waits for its host repeats a batch's launches by itself.

A network of many layers has thousands of launches a batch, each queued by Python, and a fast GPU is done with them
before the next one comes. Where that is so the step is recorded once, as one CUDA graph for each of its stages, and
every further batch is three launches: the same kernels in the same order, on memory that is kept. Before a recording is
used it is compared with the step itself, bit for bit. Batches of another size run as they are.
"""

import contextlib
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from psi_core.devices import Device
from psi_core.engine.devices import free_memory
from psi_core.engine.measure.step import FusedStep, Inputs, StageClock, StepPlan, StepResult

_OFTEN = 3
"""So many batches one after another for which the GPU had to wait make it worth while: at a chunk's end it may have to
for one, and a recording takes memory."""

_BUSY = 0.7
"""Share of a batch's time on the device from which on its host counts as what takes the time."""

_LAST_STAGE = "attacked"


class RecordedStep(FusedStep):
    """A fused step on a GPU that records itself where the GPU waits for its host; PSI_GRAPHS=0 keeps it from that.

    A recording reads and writes the same memory again and again. So the network must be known to keep nothing between
    its forwards but its weights, and one that asks the device for a number is not recorded.

    Args:
        plan: what the batches have in common.
        device: CUDA device that runs them.
        batch: images of a batch; shorter ones are not recorded.
    """

    def __init__(self, plan: StepPlan, device: Device, batch: int) -> None:
        super().__init__(plan, device)
        self._device, self._batch = device, batch
        self._recording: _Recording | None = None
        self._may_record = os.environ.get("PSI_GRAPHS") != "0" and torch.version.hip is None
        self._waits = 0
        self._last: _Queued | None = None

    @property
    def held_bytes(self) -> int:
        """Memory of the device that a recording holds."""
        return 0 if self._recording is None else self._recording.held_bytes

    def resize(self, batch: int) -> None:
        """Lets go of the recording: batches have another size from now on, and none of them is recorded."""
        self.give_back()
        self._batch, self._may_record = batch, False

    def give_back(self) -> bool:
        """Gives back the memory of a recording, if there is one; no other is made, which would take it again."""
        is_held = self._recording is not None
        if is_held:
            self._drop()
        return is_held

    def let_go(self) -> None:
        """Gives back the memory of a recording, if there is one; where batches follow after all, another is made."""
        if self.give_back():
            self._may_record, self._waits = True, 0

    def __call__(
        self, images: Tensor, true_labels: Tensor, indices: Tensor, external: Tensor | None = None
    ) -> StepResult:
        """All conditions of one batch, as the step itself gives them."""
        inputs = images, true_labels, indices, external
        if len(images) != self._batch:
            return super().__call__(*inputs)
        if self._recording is not None and self._recording.holds(self.plan.model):
            return self._recording(inputs, self.clock)
        self.give_back()
        if self._may_record and self._waits >= _OFTEN:
            return self._record(inputs)
        queued = _Queued(self._device)
        result = super().__call__(*inputs)
        queued.end()
        waits, self._last = self._last is not None and self._last.kept_device_waiting(), queued
        self._waits = self._waits + 1 if waits else 0
        return result

    def _drop(self) -> None:
        """Gives back the memory of a recording, or of what one that failed left, once the device is through with it."""
        # A device that has failed tells so of whatever it is asked; then an error is under way already.
        with contextlib.suppress(RuntimeError):
            torch.cuda.synchronize(self._device)
        self._recording = None
        with contextlib.suppress(RuntimeError):
            free_memory(self._device)

    def _record(self, inputs: Inputs) -> StepResult:
        """The batch by the step itself, which is recorded and compared meanwhile; what fails is not tried again."""
        self._may_record = False
        with _noted_waits() as waits:
            result = super().__call__(*inputs)
        if waits:
            return result
        # Something may not let itself be recorded, or no memory is left for it: the batch is through anyway.
        with contextlib.suppress(*_refusals()):
            self._recording = _Recording(super().__call__, self, inputs)
            if _has_same_bits(self._recording(inputs, StageClock(self._device)), result):
                return result
        self._drop()  # Not while the error is there: what was recorded hangs on it.
        return result


class _Queued:
    """One batch on its way through a device: how long its host took to queue it, and the device to compute it.

    Args:
        device: CUDA device that runs it; the batch is queued from now on.
    """

    def __init__(self, device: Device) -> None:
        self._stream = torch.cuda.current_stream(device)
        self._began = self._event()
        self._started, self._seconds = time.thread_time(), 0.0

    def end(self) -> None:
        """All of it is queued."""
        self._seconds = time.thread_time() - self._started
        self._ended = self._event()

    def kept_device_waiting(self) -> bool:
        """Whether the device is through with it, and was as busy with it as its host at the most."""
        if not self._ended.query():  # type: ignore[no-untyped-call]
            return False
        on_device: float = self._began.elapsed_time(self._ended) / 1000
        return self._seconds > _BUSY * on_device

    def _event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event


class _Recording:
    """One batch's launches.

    Args:
        step: the step, which is called once.
        owner: whose clock it tells of its stages.
        inputs: a batch, of the size of all later ones.

    Attributes:
        held_bytes: memory that is held for it.
    """

    def __init__(self, step: Callable[..., StepResult], owner: FusedStep, inputs: Inputs) -> None:
        device = inputs[0].device
        with _nothing_collected():
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()
            before = torch.cuda.memory_reserved(device)
            with torch.inference_mode(False), torch.no_grad():
                self._inputs = tuple(None if each is None else each.detach().clone() for each in inputs)
            clock = owner.clock
            try:
                with _Cutter(device) as cutter:
                    owner.clock = cutter
                    self._result = step(*self._inputs)
            finally:
                owner.clock = clock
        self._graphs = cutter.graphs
        self._weights = _states(owner.plan.model)
        self.held_bytes = torch.cuda.memory_reserved(device) - before

    def holds(self, model: torch.nn.Module) -> bool:
        """Whether the model's weights are those that were recorded, and lie where they lay."""
        return self._weights == _states(model)

    def __call__(self, inputs: Inputs, clock: StageClock) -> StepResult:
        """The numbers of another batch, in tensors of their own.

        Args:
            inputs: as those that were recorded.
            clock: is told of the stages.
        """
        clock.start()
        with torch.no_grad():
            for kept, given in zip(self._inputs, inputs, strict=True):
                if kept is not None and given is not None:
                    kept.copy_(given)
        for graph, stage in self._graphs:
            graph.replay()
            clock.lap(stage)
        found = self._result
        targets = None if found.targets is None else found.targets.clone()
        means = [[each.clone() for each in layers] for layers in found.channel_means]
        return StepResult(found.values.clone(), found.labels.clone(), targets, means)


class _Cutter(StageClock):
    """Records each stage of a step as a graph of its own; all share their memory, so that they run in this order only.

    Where the block ends in an error nothing of it is recorded.

    Args:
        device: CUDA device that runs the step.

    Attributes:
        graphs: each with the name of its stage.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.graphs: list[tuple[torch.cuda.CUDAGraph, str]] = []
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._outer = torch.cuda.current_stream(device)
        self._under_way: Any = None

    def start(self) -> None:
        """Begins the first stage."""
        graph = torch.cuda.CUDAGraph()
        # Another thread may meanwhile read images onto the device.
        self._under_way = torch.cuda.graph(graph, self._pool, self._stream, "thread_local")
        self._under_way.__enter__()
        self.graphs.append((graph, ""))

    def lap(self, stage: str) -> None:
        """Ends a stage, and begins the next one where it is not the last."""
        under_way, self._under_way = self._under_way, None
        under_way.__exit__(None, None, None)
        self.graphs[-1] = self.graphs[-1][0], stage
        if stage != _LAST_STAGE:
            self.start()

    def __enter__(self) -> "_Cutter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                self._give_up()
        finally:
            torch.cuda.set_stream(self._outer)

    def _give_up(self) -> None:
        """Ends what is under way where an error left it."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            with contextlib.suppress(*_refusals()):  # Whatever else is wrong, there is an error already.
                under_way.__exit__(None, None, None)
        # Up to torch 2.12 a capture that cannot be ended goes on taking memory from its pool, so none is freed, and
        # its graph never leaves that pool. A torch that has ended it refuses the first call.
        with contextlib.suppress(RuntimeError, AttributeError):
            torch._C._cuda_endAllocateToPool(self._device.index, self._pool)
            torch._C._cuda_releasePool(self._device.index, self._pool)


def _refusals() -> tuple[type[Exception], ...]:
    """What a step raises that does not let itself be recorded: torch, the checks of a step, and compilers."""
    kinds = RuntimeError, AssertionError, ValueError
    try:
        from triton.runtime.errors import TritonError  # Not at the top: triton is not everywhere.
    except ImportError:
        return kinds
    return *kinds, TritonError


@contextlib.contextmanager
def _nothing_collected() -> Iterator[None]:
    """No garbage is collected within the block, but before it: a graph that is destroyed ends one that is recorded."""
    is_on = gc.isenabled()
    gc.disable()
    try:
        gc.collect()
        yield
    finally:
        if is_on:
            gc.enable()


def _states(model: torch.nn.Module) -> list[tuple[int, int]]:
    """Address and version of every weight."""
    every = (*model.parameters(), *model.buffers())
    return [(each.data_ptr(), 0 if each.is_inference() else each._version) for each in every]


@contextlib.contextmanager
def _noted_waits() -> Iterator[list[str]]:
    """Notes each time that this thread waits for the device within the block."""
    here, found = threading.get_ident(), list[str]()

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        if threading.get_ident() == here and "called a synchronizing" in str(message):
            found.append(str(message))

    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)


def _has_same_bits(one: StepResult, other: StepResult) -> bool:
    return all(
        torch.equal(ours.contiguous().view(torch.uint8), theirs.contiguous().view(torch.uint8))
        for ours, theirs in zip(_tensors_of(one), _tensors_of(other), strict=True)
    )


def _tensors_of(result: StepResult) -> list[Tensor]:
    targets = [] if result.targets is None else [result.targets]
    means = [each for layers in result.channel_means for each in layers]
    return [result.values, result.labels, *targets, *means]
