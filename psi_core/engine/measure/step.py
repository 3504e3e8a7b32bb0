"""The fused step: from one batch of images to every number of a run, in as few forwards as there can be.

One forward with gradients for the benign images, one gradient with respect to the input, one inference forward for
every other condition, and more only for attacks that need further gradients. Every layer is reduced as it fires;
nothing is stored. The time is measured by stage without making the device wait.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from psi_core.conditions import Condition
from psi_core.devices import CPU, Device
from psi_core.engine.attacks.gradients import change_norms
from psi_core.engine.attacks.perturbations import Perturbations, PerturbedBatch
from psi_core.engine.kernels import kernels_for
from psi_core.engine.measure.reducer import Reducer, measure_of
from psi_core.engine.measure.sparseness import Moments
from psi_core.engine.models.activations import RELU_FUNCTIONS, RELU_FUNCTIONS_IN_PLACE
from psi_core.engine.models.classifier import Classifier, laid_out
from psi_core.engine.models.layers import LayerCall, NetworkTrace
from psi_core.engine.models.taps import Taps, weakly
from psi_core.engine.stand_ins import STAND_INS
from psi_core.errors import ModelError


@dataclass(slots=True)
class StageSeconds:
    """Seconds spent in the three kinds of work.

    Attributes:
        benign: forward of the benign images, measured; of a compiled step also the gradient.
        gradient: gradient of the loss with respect to them.
        attacked: making and measuring the other conditions.
    """

    benign: float = 0.0
    gradient: float = 0.0
    attacked: float = 0.0


class StageClock:
    """Adds up seconds by stage: by the clock on a CPU, on CUDA by stream events, which do not block.

    Args:
        device: device that computes.

    Attributes:
        seconds: time of the finished stages, as far as `settle` has seen.
    """

    def __init__(self, device: Device = CPU) -> None:
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
        """Adds the stages that the device has finished."""
        while len(self._marks) > 1 and self._marks[1][1].query():  # type: ignore[no-untyped-call]
            _, before = self._marks.popleft()
            stage, after = self._marks[0]
            if stage:
                self._add(stage, before.elapsed_time(after) / 1000)

    def _add(self, stage: str, seconds: float) -> None:
        setattr(self.seconds, stage, getattr(self.seconds, stage) + seconds)


_STEADY = "only networks that run alike for every batch can be measured"

PER_IMAGE = ("prediction", "confidence", "linf", "l2")
"""What a step reports of an image under a condition besides the layers' measures."""


@dataclass(frozen=True, slots=True)
class RowLayout:
    """The order of a batch's numbers in one block, float32 (row, image).

    The rows of one condition come after those of another. Of each condition come PER_IMAGE, then every layer's first
    measure, every layer's second and so on, and last, for each layer, 1 where its sums are finite and 0 where not.

    Attributes:
        conditions: number of conditions.
        layers: number of layers.
        measures: names of the measures.
    """

    conditions: int
    layers: int
    measures: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows of all conditions."""
        return self.conditions * (len(PER_IMAGE) + self.layers * (len(self.measures) + 1))

    def block_of(self, per_image: Mapping[str, Tensor], measured: Mapping[str, Tensor], is_finite: Tensor) -> Tensor:
        """The whole block.

        Args:
            per_image: (condition, image) by the names of PER_IMAGE.
            measured: (condition, layer, image) by measure.
            is_finite: (condition, layer, image), whether a layer's sums are finite.
        """
        first = torch.stack([per_image[name].float() for name in PER_IMAGE], 1)
        rows = [first, *(measured[name].float() for name in self.measures), is_finite.float()]
        return torch.cat(rows, 1).flatten(0, 1)

    def arrays(self, block: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The numbers by name: PER_IMAGE (condition, image), measures (condition, layer, image)."""
        values = self._by_condition(block)
        found = {name: values[:, place] for place, name in enumerate(PER_IMAGE)}
        for place, name in enumerate(self.measures):
            start = len(PER_IMAGE) + place * self.layers
            found[name] = values[:, start : start + self.layers]
        return {name: np.ascontiguousarray(array) for name, array in found.items()}

    def is_finite(self, block: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether a layer's sums are finite, (condition, layer, image)."""
        found: NDArray[np.bool_] = self._by_condition(block)[:, -self.layers :] != 0
        return found

    def _by_condition(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        return block.reshape(self.conditions, self.rows // self.conditions, block.shape[1])


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What every batch of a run has in common.

    Attributes:
        model: network in eval mode, parameters frozen.
        layers: the calls to tap, in forward order.
        trace: calls recorded in a dry forward; every later forward must match them.
        perturbations: what is done to the images.
        measures: names of the measures.
        unit: `neuron`, `channel` or `token`.
        rectify: `none`, `relu` or `abs`.
        uses_predictions: whether the network's own choices stand in for the labels.
    """

    model: Classifier
    layers: tuple[LayerCall, ...]
    trace: NetworkTrace
    perturbations: Perturbations
    measures: tuple[str, ...]
    unit: str
    rectify: str
    uses_predictions: bool

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Conditions of the run, benign first."""
        return self.perturbations.conditions

    @property
    def layout(self) -> RowLayout:
        """The order of a batch's numbers."""
        return RowLayout(len(self.conditions), len(self.layers), self.measures)


Inputs = tuple[Tensor, Tensor, Tensor, Tensor | None]
"""What a step takes: images, labels, positions in the data set, and images attacked elsewhere or None."""


@dataclass(slots=True)
class StepResult:
    """Every number of one batch.

    Attributes:
        values: float32 (row, image) on the run's device, in the order of the plan's RowLayout.
        labels: int64 (image,), true, or the network's own choices.
        targets: int64 (image,), the classes that a targeted attack is to reach; None for others.
        channel_means: per condition and layer, float64 (image, channel).
    """

    values: Tensor
    labels: Tensor
    targets: Tensor | None
    channel_means: list[list[Tensor]]

    def first(self, images: int) -> "StepResult":
        """The numbers of the first images alone."""
        targets = None if self.targets is None else self.targets[:images]
        means = [[each[:images] for each in layers] for layers in self.channel_means]
        return StepResult(self.values[:, :images], self.labels[:images], targets, means)


def _relus(reducer: Reducer) -> dict[Callable[..., Tensor], Callable[..., Tensor]]:
    """Every function that is a ReLU, and the reducer's own, which is called in its place."""

    def relu(input: Tensor, inplace: bool = False) -> Tensor:  # noqa: A002 (torch's name)
        return reducer.relu(input, in_place=inplace)

    def relu_(input: Tensor) -> Tensor:  # noqa: A002
        return reducer.relu(input, in_place=True)

    return {**dict.fromkeys(RELU_FUNCTIONS, relu), **dict.fromkeys(RELU_FUNCTIONS_IN_PLACE, relu_)}


def _ready(model: Classifier, changed: Tensor, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """What a network takes for changed images, and the L-infinity and L2 norm of their changes, float32 (image,)."""
    kernels = kernels_for(changed, "steps") if model.memory_format == "channels_last" else None
    if kernels is not None and kernels.fits(changed, images):
        made: tuple[Tensor, tuple[Tensor, Tensor]] = kernels.ready(changed, images, model.mean, model.sd)
        return made
    norms = change_norms(changed, images)
    return model.inputs_of(changed), norms


Measured = tuple[Tensor, Tensor, Tensor, dict[str, Tensor], list[Tensor]]
"""What one condition leaves: logits (image, class); L-infinity and L2 of the change, float32 (2, image); total, squares
and count of the positive responses of every layer, float64 (3, layer, image); measures that cost a pass, by name,
float64 (layer, image); and the channel means of every layer, float64 (image, channel)."""

BenignPass = tuple[Tensor, Tensor, Tensor | None, Measured]
"""The gradient that attacks share, labels, targets or None, and what is measured, all of the benign images."""


class FusedStep:
    """Runs batches by one plan.

    Args:
        plan: what the batches have in common.
        device: device that runs them.
        fuses_passes: True: a compiler fuses all sums over a layer. False: sums are taken on parts that fit the cache.

    Attributes:
        plan: the plan, as given.
        clock: seconds of the stages.
    """

    repeats_benign: ClassVar[bool] = False
    """Whether epsilon 0 repeats the benign numbers, instead of measuring the same images again."""

    def __init__(self, plan: StepPlan, device: Device = CPU, *, fuses_passes: bool = False) -> None:
        self.plan = plan
        self.clock = StageClock(device)
        self._reducer = Reducer(plan.unit, plan.rectify, plan.measures, in_parts=not fuses_passes)
        # What a forward must repeat: the modules to listen to, every call's path, how many activations fire, and the
        # place and shape of each tapped call.
        needs_modules = any(not call.is_activation for call in plan.layers)
        owners = plan.trace.owners | {call.owner for call in plan.layers}
        activations = {call.path for call in plan.trace.calls if call.is_activation}
        relus = _relus(self._reducer) if activations <= {call.path for call in plan.layers} else {}
        self._taps = Taps(
            plan.model.network,
            weakly(self._receive),
            owners=owners,
            with_modules=needs_modules,
            stand_ins={} if fuses_passes else {**STAND_INS, **relus},
        )
        self._known = frozenset(call.path for call in plan.trace.calls)
        self._activations = sum(call.is_activation for call in plan.trace.calls)
        self._expected = {call.path: (place, call.shape) for place, call in enumerate(plan.layers)}
        # Of the forward under way: sums of the layers so far, activations that fired, and images.
        self._sums: list[tuple[Moments, Tensor]] = []
        self._fired = self._images = 0
        self._units: list[int | Tensor] = []
        self._units_there = torch.empty(0)

    @property
    def seconds(self) -> StageSeconds:
        """Seconds spent so far, by stage."""
        return self.clock.seconds

    def __call__(
        self, images: Tensor, true_labels: Tensor, indices: Tensor, external: Tensor | None = None
    ) -> StepResult:
        """All conditions of one batch.

        Args:
            images: float32 (batch, channel, size, size) in 0..1.
            true_labels: int64 (batch,).
            indices: int64 (batch,), positions in the data set.
            external: images attacked elsewhere, as `images`; for the condition of that name.

        Raises:
            ModelError: a layer fired another number of times, in another order or shape than in the dry forward.
        """
        plan = self.plan
        self.clock.start()
        images = laid_out(images, plan.model.memory_format)
        gradient, labels, targets, benign = self.benign_pass(images.detach(), true_labels, indices)
        self.clock.lap("gradient")
        perturbed = PerturbedBatch(plan.perturbations, plan.model, images.detach(), gradient, labels, targets, indices)
        measured = [benign]
        with plan.model.without_gradient():
            for condition in plan.conditions[1:]:
                if self.repeats_benign and condition.epsilon == 0:
                    found = benign
                else:  # No name for the changed images: they go once what the network takes is made of them.
                    found = self.measure(self._changed(perturbed, condition, external), perturbed.images)
                if (failed := perturbed.failed_under(condition)) is not None:
                    # No distance is known of images that an attack failed on.
                    found = (found[0], found[1].masked_fill(failed, torch.nan), *found[2:])
                measured.append(found)
            result = StepResult(self._block(measured, labels), labels, targets, [means for *_, means in measured])
        self.clock.lap("attacked")
        return result

    @property
    def held_bytes(self) -> int:
        """Memory of the device that is held between batches, and that no tensor tells of."""
        return 0

    def _changed(self, perturbed: PerturbedBatch, condition: Condition, external: Tensor | None) -> Tensor:
        """The images of a condition."""
        if not condition.is_external:
            return perturbed.images_under(condition)
        assert external is not None, "a run with external images reads them"
        return laid_out(external, self.plan.model.memory_format)

    def resize(self, batch: int) -> None:
        """Sets the most images a batch has from now on; ignored here, other steps need it."""

    def give_back(self) -> bool:
        """Gives memory that it can do without back to the device, which has none left; whether there was any."""
        return False

    def let_go(self) -> None:
        """Gives back all that it holds on the device between batches, after the last one; here nothing."""

    def benign_pass(self, images: Tensor, true_labels: Tensor, indices: Tensor) -> BenignPass:
        """The benign images measured, and the gradient that attacks share."""
        plan = self.plan
        inputs = images.requires_grad_()
        with torch.enable_grad():
            logits, sums = self._forward(inputs)
        labels = logits.detach().argmax(1) if plan.uses_predictions else true_labels
        self.clock.lap("benign")
        perturbed = plan.perturbations.begin_batch(plan.model, inputs, logits, labels, indices)
        with torch.no_grad():
            nothing = torch.zeros(2, len(images), dtype=torch.float32, device=images.device)
            measured = self._measured(logits.detach(), nothing, sums)
        return perturbed.gradient, labels, perturbed.targets, measured

    def measure(self, changed: Tensor, images: Tensor) -> Measured:
        """Changed images measured, and by how much they were changed."""
        inputs, norms = _ready(self.plan.model, changed, images)
        del changed
        logits, sums = self._forward(inputs, are_inputs=True)
        return self._measured(logits, torch.stack(norms), sums)

    def _forward(self, images: Tensor, *, are_inputs: bool = False) -> tuple[Tensor, list[tuple[Moments, Tensor]]]:
        """Logits, and sums of every tapped layer, of one forward."""
        plan = self.plan
        self._sums, self._fired, self._images = [], 0, len(images)
        try:
            with self._taps:
                logits = plan.model(images, are_inputs=are_inputs)
        finally:  # Nothing of a forward outlives it here, nor of one that failed.
            self._reducer.forget()
            sums, self._sums = self._sums, []
        if len(sums) != len(plan.layers):
            raise ModelError(f"layers: {len(sums)} of {len(plan.layers)} layers fired in a batch; {_STEADY}")
        # A skipped call that is not tapped would renumber later calls: `#3` would become `#2`.
        if self._fired != self._activations:
            raise ModelError(
                f"layers: {self._fired} activations fired in a batch, {self._activations} in the dry forward; {_STEADY}"
            )
        return logits, sums

    def _receive(self, path: str, kind: str, output: Tensor) -> None:
        self._fired += kind != "module"
        expected = self._expected.get(path)
        if expected is None and path not in self._known:
            raise ModelError(f"layers: {path} fired in a batch and not in the dry forward; {_STEADY}")
        if expected is None:
            return
        place, shape = expected
        if place != len(self._sums) or tuple(output.shape) != (self._images, *shape):
            raise ModelError(
                f"layers: {path} came as layer {len(self._sums) + 1} with {tuple(output.shape)}, "
                f"in the dry forward as layer {place + 1} with {(self._images, *shape)}; {_STEADY}"
            )
        with torch.no_grad():
            self._sums.append(self._reducer(output, self.plan.layers[place].channel_axis))

    def _measured(self, logits: Tensor, norms: Tensor, sums: Sequence[tuple[Moments, Tensor]]) -> Measured:
        """One condition's sums, those of all layers in one tensor: few large operations follow, not many small ones."""
        moments = [each for each, _ in sums]
        self._units = [each.units for each in moments]
        kinds = [[getattr(each, kind) for each in moments] for kind in ("total", "squares", "active")]
        of_layers = torch.stack([*itertools.chain(*kinds)]).view(len(kinds), len(moments), -1)
        costly = {name: torch.stack([each.shape[name] for each in moments]) for name in moments[0].shape}
        return logits, norms, of_layers, costly, [means for _, means in sums]

    def _block(self, measured: Sequence[Measured], labels: Tensor) -> Tensor:
        """The numbers of all conditions, float32 (row, image), in the order of the plan's layout."""
        every_logits, every_norms, every_sums, every_costly, _ = zip(*measured, strict=True)
        logits, norms, sums = torch.stack(every_logits), torch.stack(every_norms), torch.stack(every_sums)
        probabilities = F.softmax(logits.float(), 2)
        confidence = probabilities.gather(2, labels.expand(len(measured), -1)[:, :, None])[:, :, 0]
        values = logits.argmax(2), confidence, norms[:, 0], norms[:, 1]
        total, squares, active = sums.unbind(1)
        costly = {name: torch.stack([each[name] for each in every_costly]) for name in every_costly[0]}
        moments = Moments(self._units_like(total), total, squares, active, costly)
        return self.plan.layout.block_of(
            dict(zip(PER_IMAGE, values, strict=True)),
            {name: measure_of(name, moments) for name in self.plan.measures},
            torch.isfinite(total) & torch.isfinite(squares),
        )

    def _units_like(self, total: Tensor) -> Tensor:
        """How many units every layer has, float64 (layer, 1), where the sums are; it is copied there once."""
        if len(self._units_there) != len(self._units):
            self._units_there = torch.tensor(self._units, dtype=torch.float64).view(-1, 1).to(total.device)
        return self._units_there
