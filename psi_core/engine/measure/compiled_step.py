"""The fused step compiled: one graph for the benign images and their gradient, one for every other condition.

Each is traced once as the eager step runs it, taps, sums and gradient included, and handed whole to torch's compiler.
Changed images are made eagerly.
"""

import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from psi_core.devices import Device
from psi_core.engine.devices import is_out_of_memory
from psi_core.engine.measure.step import BenignPass, FusedStep, Measured, StageClock, StepPlan, StepResult
from psi_core.engine.models.classifier import torch_format
from psi_core.engine.models.complaints import COMPLAINTS
from psi_core.errors import PsiError, RunError


class CompiledStep(FusedStep):
    """A fused step that runs batches of one size as compiled graphs; shorter ones are filled up and cut off again.

    Args:
        plan: what the batches have in common.
        device: device that runs them.
        batch: images at a time. Another number is another graph, which the next batch compiles.
        backend: backend of torch's compiler.
    """

    # Two graphs may round the same images differently.
    repeats_benign = True

    def __init__(self, plan: StepPlan, device: Device, batch: int, *, backend: str = "inductor") -> None:
        super().__init__(plan, device, fuses_passes=True)
        self._batch = batch
        self._backend = backend
        self._benign_pass: Callable[..., BenignPass] | None = None
        self._measure: Callable[..., Measured] | None = None

    def resize(self, batch: int) -> None:
        """Accepts batches of another size from now on."""
        self._batch, self._benign_pass, self._measure = batch, None, None

    def __call__(
        self, images: Tensor, true_labels: Tensor, indices: Tensor, external: Tensor | None = None
    ) -> StepResult:
        """All conditions of one batch, of at most the compiled size.

        Raises:
            ModelError: as the eager step does.
            RunError: the network cannot be compiled.
        """
        filled = [_filled(each, self._batch) for each in (images, true_labels, indices)]
        partners = None if external is None else _filled(external, self._batch)
        return super().__call__(filled[0], filled[1], filled[2], partners).first(len(images))

    def benign_pass(self, images: Tensor, true_labels: Tensor, indices: Tensor) -> BenignPass:
        """As the eager step, by the compiled graph."""
        if self._benign_pass is None:
            self._benign_pass = self._compiled(super().benign_pass, images, true_labels, indices)
        found = self._benign_pass(images, true_labels, indices)
        self.clock.lap("benign")
        return found

    def measure(self, changed: Tensor, images: Tensor) -> Measured:
        """As the eager step, by the compiled graph."""
        if self._measure is None:
            self._measure = self._compiled(super().measure, changed, images)
        return self._measure(changed, images)

    def _compiled(self, function: Callable[..., Any], *example: Tensor) -> Callable[..., Any]:
        clock, self.clock = self.clock, StageClock()  # The time that it takes to compile is no stage's.
        try:
            memory_format = torch_format(self.plan.model.memory_format)
            return _compiled(function, self._backend, memory_format, *example)
        finally:
            self.clock = clock
            clock.start()


def _compiled(
    function: Callable[..., Any], backend: str, memory_format: torch.memory_format, *example: Tensor
) -> Callable[..., Any]:
    """The function as one graph for inputs like these.

    Autocast is in the traced graph; it must not act on it again.
    """
    kind = example[0].device.type

    def copied(values: Tensor) -> Tensor:
        """A copy made outside inference mode, always in the same layout."""
        return values.clone(memory_format=memory_format if values.dim() == 4 else torch.contiguous_format)

    def alike(values: Tensor, layout: tuple[int, ...]) -> Tensor:
        """The values themselves where the graph takes them; of others, for which it would be compiled anew, a copy."""
        is_alike = not values.is_inference() and not values.requires_grad and values.stride() == layout
        return values if is_alike else copied(values)

    def call(*tensors: Tensor) -> Any:
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(kind, enabled=False):
            return run(*map(alike, tensors, layouts))

    try:
        with torch.inference_mode(False), torch.no_grad():
            # First with numbers: what a network keeps for its next forward must be no fake tensor.
            function(*map(copied, example))
            # Fake ones, as the compiler has: it lays some out otherwise than the device does, and a view of one layout
            # fails on another. A partial, lest a bound method's self be counted as an argument.
            trace = make_fx(partial(function), tracing_mode="fake", _allow_non_fake_inputs=True)
            graph = trace(*map(copied, example))
            layouts = [copied(each).stride() for each in example]
        run = torch.compile(graph, backend=backend, fullgraph=True, dynamic=False)
        call(*example)
    except PsiError:
        raise
    except COMPLAINTS as error:
        if is_out_of_memory(error):
            raise
        reason = textwrap.shorten(str(error).strip().partition("\n")[0] or type(error).__name__, 200)
        raise RunError(f"compile: torch cannot compile this network here ({reason}); leave --compile out") from error
    return call


def _filled(values: Tensor, rows: int) -> Tensor:
    """As many rows as asked for, the last one again and again where they are fewer."""
    missing = rows - len(values)
    return values if missing <= 0 else torch.cat([values, values[-1:].expand(missing, *values.shape[1:])])
