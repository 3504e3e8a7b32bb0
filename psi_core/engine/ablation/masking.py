"""Ablation at work: every image under every condition, through the intact and through every masked network.

`ablate` is the command, `run_ablation` the work without its events, `masked_logits` one forward of a masked network.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from psi_core.ablation import AblationConfig
from psi_core.engine.ablation.channel_order import SCORES, class_responses, random_ranks, ranks_by_score
from psi_core.engine.ablation.preparation import Ablation, prepare_ablation
from psi_core.engine.attacks.attacks import Batch
from psi_core.engine.attacks.gradients import input_gradient
from psi_core.engine.attacks.noise import Noise
from psi_core.engine.attacks.perturbations import FUNCTIONS
from psi_core.engine.devices import MEMORY_ERRORS, cpu_threads, current_device, is_out_of_memory
from psi_core.engine.images import Dataset, read_inputs
from psi_core.engine.measure.reducer import Reducer
from psi_core.engine.models.checkpoints import find_checkpoint
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.fitting import FitInterruptedError, ensure_fitted
from psi_core.engine.models.layers import LayerCall
from psi_core.engine.models.sources import input_channels
from psi_core.engine.models.taps import Taps
from psi_core.engine.precision import precision
from psi_core.engine.preparation import Prepared
from psi_core.errors import ModelError, RunError
from psi_core.plain_text import counted
from psi_core.runs.events import AblationAdvanced, FitAdvanced, PhaseBegan, Warned
from psi_core.tables.ablation import AblationResult, MaskedAccuracy, ablation_notes, ablation_rows, ablation_title

Tell = Callable[[FitAdvanced | AblationAdvanced | PhaseBegan | Warned], None]
"""Receives the events of an ablation."""

Report = Callable[[AblationAdvanced], None]
"""Takes how far the work is, after every forward of a batch; may raise, to end it."""

_NO_ANSWER = -1
"""Stands for a prediction where a logit is NaN or infinite."""


class AblationFailedError(RunError):
    """An ablation failed on the way; what was asked for was right."""


def ablate(values: Mapping[str, Any], tell: Tell, is_interrupted: Callable[[], bool]) -> AblationResult:
    """Does one ablation.

    Args:
        values: fields of AblationConfig.
        tell: receives warnings and progress.
        is_interrupted: asked after every batch.

    Raises:
        PsiError: refused before any work, or failed on the way.
        KeyboardInterrupt: it was interrupted.
    """

    def report(advanced: AblationAdvanced) -> None:
        if is_interrupted():
            raise KeyboardInterrupt
        tell(advanced)

    ablation = prepare_ablation(AblationConfig(**values))
    for note in ablation.prepared.notes:
        tell(Warned(note))
    if ablation.prepared.config.weights == "fitted":
        ablation = replace(ablation, prepared=_with_fitted_weights(ablation.prepared, tell, is_interrupted))
    return run_ablation(ablation, report)


def _with_fitted_weights(prepared: Prepared, tell: Tell, is_interrupted: Callable[[], bool]) -> Prepared:
    """The model with fitted weights in place, fitted now if they are not cached."""
    checkpoint = find_checkpoint(prepared.recipe)
    if checkpoint is None:
        tell(PhaseBegan("fit"))
        try:
            checkpoint = ensure_fitted(prepared.recipe, prepared.config.device, tell, is_interrupted)
        except FitInterruptedError:
            raise KeyboardInterrupt from None
    return prepared.with_checkpoint(checkpoint)


def run_ablation(ablation: Ablation, report: Report = lambda _: None) -> AblationResult:
    """StopRequests the channels of the layer, and shows the images to the intact and to every masked network.

    Args:
        ablation: prepared, its weights in place.
        report: called after every forward of a batch.

    Raises:
        AblationFailedError: a batch does not fit in memory, or an answer is NaN or infinite.
        ModelError: the network does not run alike for every batch.
        DataError: an image cannot be read.
    """
    resolved = ablation.prepared.config
    ablation.prepared.classifier.move_to(resolved.device)
    try:
        device = resolved.device
        with cpu_threads(resolved.threads), current_device(device), precision(resolved.precision, device):
            return _MaskedRuns(ablation, report).result()
    except MEMORY_ERRORS as error:
        if not is_out_of_memory(error):
            raise
        raise AblationFailedError(
            f"memory: a batch of {counted(resolved.batch, 'image')} does not fit on {resolved.device}; "
            "write a smaller --batch"
        ) from error


class _Clock:
    """Reports how many images of a phase are through, and how fast."""

    def __init__(self, report: Report, phase: str, total: int) -> None:
        self._report, self._phase, self._total = report, phase, total
        self._done, self._started = 0, time.monotonic()

    def advance(self, images: int) -> None:
        """Counts so many more."""
        self._done += images
        rate = self._done / max(1e-9, time.monotonic() - self._started)
        self._report(AblationAdvanced(self._phase, self._done, self._total, rate))


class _MaskedRuns:
    """One ablation under way.

    Attributes:
        masks: all that differ.
    """

    def __init__(self, ablation: Ablation, report: Report) -> None:
        self.ablation = ablation
        self.config = ablation.config
        self.prepared = ablation.prepared
        self.model = ablation.prepared.classifier
        self.device = ablation.prepared.config.device
        self.report = report
        percentages, channels = self.config.percentages, ablation.channels
        masks = (self.config.mask(by, percent, channels) for by in self.config.by for percent in percentages)
        self.masks = tuple(dict.fromkeys(masks))

    def result(self) -> AblationResult:
        """Everything, from the orders of the channels to rows and notes."""
        ranks = self._ranks()
        images, conditions = self.prepared.config.images, self.config.conditions
        right = np.zeros((1 + len(self.masks), len(conditions)), np.int64)
        alike = np.zeros_like(right)
        clock = _Clock(self.report, "masking", images * right.size)
        for positions, benign, labels in self._batches(self.prepared.dataset, images):
            shown = self._images_by_condition(benign, labels, positions)
            choices = torch.stack([self._choices(each, labels, ranks, clock) for each in shown], 1)
            self._require_answers(choices, positions)
            right += (choices == labels).sum(2).cpu().numpy()
            alike += (choices == choices[0]).sum(2).cpu().numpy()
        intact, *masked = (
            MaskedAccuracy(tuple(accuracy.tolist()), tuple(agreement.tolist()))
            for accuracy, agreement in zip(100 * right / images, 100 * alike / images, strict=True)
        )
        layer, channels = self.ablation.call.name, self.ablation.channels
        rows = ablation_rows(self.config, layer, channels, images, intact, dict(zip(self.masks, masked, strict=True)))
        notes = ablation_notes(self.config, rows, intact, self.ablation.train_images)
        return AblationResult(rows, ablation_title(self.prepared.config, layer, channels), notes)

    def _ranks(self) -> dict[str, Tensor]:
        """Place of each channel in the order of each class, int64 (class, channel) on the device, by ranking."""
        classes, channels, shared = self.ablation.classes, self.ablation.channels, self.config.shared
        training, images = self.ablation.training, self.ablation.train_images
        ranks: dict[str, NDArray[np.int64]] = {}
        if "random" in self.config.by:
            ranks["random"] = random_ranks(self.config.seed, self.ablation.call.name, classes, channels, shared=shared)
        if training is not None:
            clock = _Clock(self.report, "ordering", images)
            reducer = Reducer("channel", self.config.rectify)
            batches = self._batches(training, images, clock)
            responses = class_responses(self.model, self.ablation.call, reducer, classes, batches)
            scores = {by: SCORES[by](responses) for by in self.config.by if by in SCORES}
            ranks |= {by: ranks_by_score(each, shared=shared) for by, each in scores.items()}
        return {by: torch.tensor(places, device=self.device) for by, places in ranks.items()}

    def _batches(
        self, dataset: Dataset, images: int, clock: _Clock | None = None
    ) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
        """Positions, network inputs and labels of the first images; a clock is told when each batch is through."""
        batch, size = self.prepared.config.batch, self.prepared.config.size
        channels = input_channels(self.model.network)
        for start in range(0, images, batch):
            positions = np.arange(start, min(start + batch, images))
            labels = torch.from_numpy(dataset.labels[positions]).to(self.device)
            yield positions, read_inputs(dataset, positions, size, channels, self.device), labels
            if clock is not None:
                clock.advance(len(positions))

    def _images_by_condition(self, images: Tensor, labels: Tensor, positions: NDArray[np.int64]) -> Iterator[Tensor]:
        """The images under each condition; attacks follow the gradient of the intact network."""
        _, gradient = input_gradient(self.model, images, labels)
        indices = torch.from_numpy(positions).to(self.device)
        for condition in self.config.conditions:
            if condition.is_benign:
                yield images
            else:
                noise = Noise(self.config.seed, indices, condition.stream)
                yield FUNCTIONS[condition.attack](Batch(images, gradient, noise, labels), float(condition.epsilon))

    def _choices(self, images: Tensor, labels: Tensor, ranks: dict[str, Tensor], clock: _Clock) -> Tensor:
        """The class that the intact and every masked network choose, int64 (1 + mask, image)."""
        with self.model.without_gradient():
            choices = [_answers(self.model(images))]
            clock.advance(len(images))
            for mask in self.masks:
                places = ranks[mask.by][labels]
                keep = (places >= mask.places.start) & (places < mask.places.stop)
                logits = masked_logits(self.model, self.ablation.call, self.prepared.trace.owners, images, keep)
                choices.append(_answers(logits))
                clock.advance(len(images))
            return torch.stack(choices)

    def _require_answers(self, choices: Tensor, positions: NDArray[np.int64]) -> None:
        for _, condition, image in torch.nonzero(choices == _NO_ANSWER)[:1].tolist():
            raise AblationFailedError(
                f"model: image {positions[image]} under {self.config.conditions[condition].name} makes it answer with "
                "NaN or infinity; check the weights, or use --precision exact"
            )


def _answers(logits: Tensor) -> Tensor:
    """The class each image is taken for, int64 (image,); _NO_ANSWER where a logit is NaN or infinite."""
    return torch.where(torch.isfinite(logits).all(1), logits.argmax(1), _NO_ANSWER)


def masked_logits(model: Classifier, call: LayerCall, owners: Collection[str], images: Tensor, keep: Tensor) -> Tensor:
    """Logits of one forward in which a layer's channels are 0 for the images that do not keep them.

    The channels that are kept come through bit by bit; what is set to 0 is 0 even where it was infinite.

    Args:
        model: in eval mode.
        call: call of the layer, as `trace_network` saw it.
        owners: `NetworkTrace.owners`, so that calls get the same names.
        images: (batch, channel, height, width).
        keep: bool (batch, channels of the layer), on the images' device.

    Raises:
        ModelError: the layer fires in another shape than in the dry forward, or not exactly once.
    """
    fired = 0

    def receive(path: str, _kind: str, output: Tensor) -> Tensor | None:
        nonlocal fired
        if path != call.path:
            return None
        fired += 1
        if tuple(output.shape) != (len(images), *call.shape):
            raise ModelError(
                f"layer: {call.name} came with {tuple(output.shape)} and not {(len(images), *call.shape)}; "
                "only networks that run alike for every batch can be masked"
            )
        channels_last = keep.view(len(keep), *(1,) * (output.dim() - 2), -1)
        dropped = ~channels_last.movedim(-1, call.channel_axis)
        return output.clone().masked_fill_(dropped, 0)  # clone() keeps the memory format, and so the next layer's bits.

    with Taps(model.network, receive, owners={*owners, call.owner}, with_modules=not call.is_activation):
        logits: Tensor = model(images)
    if fired != 1:
        raise ModelError(
            f"layer: {call.name} fired {fired} times in a forward; only networks that run alike for every batch can be "
            "masked"
        )
    return logits
