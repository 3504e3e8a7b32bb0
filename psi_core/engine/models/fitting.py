"""Fitting: trains a classifier by a recipe and caches it. An interrupted fit goes on from its last partial file."""

import contextlib
import importlib.metadata
import math
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from psi_core.devices import Device
from psi_core.engine.devices import (
    MEMORY_ERRORS,
    current_device,
    free_memory,
    is_out_of_memory,
    processor_name,
    words_of,
)
from psi_core.engine.images import Dataset, load_dataset, read_inputs
from psi_core.engine.images.classes import match_names
from psi_core.engine.models.checkpoints import (
    DAMAGED,
    Checkpoint,
    Recipe,
    find_checkpoint,
    fitting_lock,
    set_damaged_aside,
)
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.dry_forward import dry_forward
from psi_core.engine.models.sources import ModelSource, build_classifier, input_channels, model_source
from psi_core.engine.models.weight_files import DAMAGE
from psi_core.engine.models.weights import imagenet_file, read_weights
from psi_core.engine.precision import precision
from psi_core.errors import ModelError
from psi_core.files import checkpoints_directory, file_sha256, flush_to_disk, replacing, set_aside
from psi_core.runs.creation import write_json
from psi_core.runs.events import FitAdvanced, Warned

BATCH = 64
_PARTIAL_SECONDS = 120.0
_LOWERINGS = 3
"""How often a fit that does not learn starts over, each time at a third of the rate."""

_RATES = {"lenet5": 2e-3}
_RATE = 3e-4
"""Learning rates by model, and of any other."""

_STUCK = 0.95
"""A fit whose loss stays above this share of the loss of guessing does not learn."""

Report = Callable[[FitAdvanced | Warned], None]
"""Receives the events of a fit."""


class FitInterruptedError(Exception):
    """The fit was asked to stop; its partial file is kept."""


def ensure_fitted(recipe: Recipe, device: Device, report: Report, should_stop: Callable[[], bool]) -> Checkpoint:
    """The checkpoint of a recipe, fitted now if it is not cached; of several processes one fits and the others wait.

    Raises:
        FitInterruptedError: `should_stop` gave True.
        ModelError: the loss stayed at guessing or at NaN at every rate tried, or the cache cannot be written to.
    """
    found = find_checkpoint(recipe)
    if found is not None:
        return found
    with fitting_lock(recipe, should_stop) as is_held:
        if not is_held:
            raise FitInterruptedError
        found = find_checkpoint(recipe)
        if found is not None:
            return found
        with _writing():
            sentence = set_damaged_aside(recipe)
        if sentence:
            report(Warned(sentence))
        try:
            with precision("exact", device), current_device(device):
                return Fit(recipe, device, report, should_stop).run()
        except MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise
            raise ModelError(
                f"fit: memory ran out on {device} ({words_of(error)}); free some of it, or write another --device: "
                "the same command goes on from the last partial file"
            ) from None


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Says of what the block could not write, in whosever words that comes out, where it lies and how to go on.

    Raises:
        ModelError: the cache cannot be written to.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"fit: {checkpoints_directory()} cannot be written to ({reason}); free some of its disk, and begin again: "
            "it goes on from its last partial file"
        ) from None


class Fit:
    """A fit under way: AdamW, linear warm-up, cosine decay, channels last, bf16 where the device is fast at it."""

    def __init__(self, recipe: Recipe, device: Device, report: Report, should_stop: Callable[[], bool]) -> None:
        self.recipe = recipe
        self.device = device
        self.report = report
        self.should_stop = should_stop
        self.source: ModelSource = model_source(recipe.model)
        self.train_set = load_dataset(recipe.data, "train", recipe.resize)
        self.steps = -(-recipe.images // BATCH) * recipe.epochs
        self.rate = _RATES.get(recipe.model, _RATE)
        self.lowerings = 0
        self.step = 0
        self.seconds = 0.0
        self.recent: list[float] = []
        self.partial = checkpoints_directory() / f"{recipe.stem}.partial.pt"
        self._begin()
        self._resume()

    def run(self) -> Checkpoint:
        """Trains to the end, measures the test accuracy and writes checkpoint and card."""
        with torch.random.fork_rng(devices=[self.device] if self.device.is_cuda else []):
            try:
                self._train()
                accuracy = self._test()
            except MEMORY_ERRORS as error:
                if is_out_of_memory(error) and self._is_between_steps:
                    self._save_partial()
                raise
        return self._save(accuracy)

    def _begin(self) -> None:
        """Makes network and optimizer as they are before the first step."""
        self._is_between_steps = False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            classes = len(self.train_set.class_names)
            self.classifier: Classifier = build_classifier(self.source, classes, self.source.normalization)
        network = self.classifier.network
        if self.recipe.init == "imagenet":
            state, _ = read_weights(imagenet_file(self.source), network)
            own = network.state_dict()
            network.load_state_dict({**own, **{k: v for k, v in state.items() if k in own and v.shape == own[k].shape}})
        dry_forward(self.classifier, self.source, self.recipe.size)
        self.classifier.to(self.device).requires_grad_(True).train()
        self.optimizer = torch.optim.AdamW(network.parameters(), self.rate, weight_decay=0.01, fused=True)
        self._is_between_steps = True

    def _train(self) -> None:
        saved = reported = started = time.monotonic()
        elapsed_before, steps_before = self.seconds, self.step
        guessing = math.log(len(self.train_set.class_names))
        while self.step < self.steps:
            now = time.monotonic()
            self.seconds = elapsed_before + now - started
            if self.should_stop():
                self._save_partial()
                raise FitInterruptedError
            if now - saved > _PARTIAL_SECONDS:
                self._save_partial()
                saved = now
            loss = self._advance()
            if now - reported > 0.5 or self.step == self.steps:
                reported = now
                images_per_second = (self.step - steps_before) * BATCH / max(1e-9, time.monotonic() - started)
                self._report_progress(loss, images_per_second)
            if self._is_stuck(guessing):
                self._lower_rate()
                elapsed_before, started, steps_before = self.seconds, time.monotonic(), 0
        self.seconds = elapsed_before + time.monotonic() - started

    def _advance(self) -> float:
        """Takes one step and gives its loss. A resumed fit repeats it: its number decides order, dropout and rate."""
        positions = self._positions(self.step)
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * self._schedule(self.step)
        images, labels = self._batch(self.train_set, positions)
        self._is_between_steps = False  # Half a step may have moved statistics of batches, and some of the optimizer.
        # No cache of converted weights: it would outlive the step, since this block lies within another's.
        is_fast = has_fast_bf16(self.device)
        with torch.autocast(self.device.kind, torch.bfloat16, enabled=is_fast, cache_enabled=False):
            logits = self.classifier(images)
        loss = F.cross_entropy(logits.float(), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.classifier.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self._is_between_steps = True
        self.recent = [*self.recent[-49:], float(loss.detach())]
        return self.recent[-1]

    def _positions(self, step: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        epoch, place = divmod(step, -(-self.recipe.images // BATCH))
        order = np.random.default_rng([self.recipe.seed, epoch]).permutation(self.recipe.images)
        return order[place * BATCH : (place + 1) * BATCH]

    def _schedule(self, step: int) -> float:
        warm_up = max(20, self.steps // 20)
        return min(1.0, (step + 1) / warm_up) * (0.5 + 0.5 * math.cos(math.pi * step / self.steps))

    def _batch(self, dataset: Dataset, positions: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[Tensor, Tensor]:
        channels = input_channels(self.classifier.network)
        labels = torch.from_numpy(dataset.labels[positions]).to(self.device)
        return read_inputs(dataset, positions, self.recipe.size, channels, self.device), labels

    def _is_stuck(self, guessing: float) -> bool:
        patience = max(60, min(200, self.steps // 4))
        mean = sum(self.recent) / max(1, len(self.recent))
        return not math.isfinite(self.recent[-1]) or (self.step == patience and mean > _STUCK * guessing)

    def _lower_rate(self) -> None:
        if self.lowerings == _LOWERINGS:
            raise ModelError(
                f"fit: {self.recipe.model} does not learn at any learning rate down to {self.rate:.1e}; "
                "give it more images (--images) or begin with --from imagenet"
            )
        self.lowerings += 1
        self.rate /= 3
        self.report(Warned(f"the loss stays at chance level; starting over with a learning rate of {self.rate:.1e}"))
        self.step, self.recent = 0, []
        self._begin()

    def _test(self) -> float:
        """Share of the test images that the fitted classifier gets right, 0..1."""
        dataset = load_dataset(self.recipe.data, "test", self.recipe.resize)
        dataset = match_names(dataset, self.train_set.class_names)
        self.classifier.eval().requires_grad_(False)
        right, done, batch, started = 0, 0, 4 * BATCH, time.monotonic()
        while done < len(dataset):
            if self.should_stop():
                self._save_partial()
                raise FitInterruptedError
            end = min(done + batch, len(dataset))
            found = self._right(dataset, np.arange(done, end), may_be_fewer=batch > 1)
            if found is None:
                free_memory(self.device)
                batch //= 2
                continue
            right, done = right + found, end
            rate = done / max(1e-9, time.monotonic() - started)
            self.report(
                FitAdvanced("test", done, len(dataset), right / done, rate, self.recent[-1], self.recipe.epochs)
            )
        return right / len(dataset)

    def _right(
        self, dataset: Dataset, positions: np.ndarray[Any, np.dtype[np.int64]], *, may_be_fewer: bool
    ) -> int | None:
        """How many of these images the classifier gets right; None where they do not fit and fewer may."""
        try:
            images, labels = self._batch(dataset, positions)
            with self.classifier.without_gradient():
                return int((self.classifier(images).argmax(1) == labels).sum())
        except MEMORY_ERRORS as error:
            if not (may_be_fewer and is_out_of_memory(error)):
                raise
        return None

    def _report_progress(self, loss: float, images_per_second: float) -> None:
        per_epoch = -(-self.recipe.images // BATCH)
        done = min(self.step * BATCH, self.recipe.images * self.recipe.epochs)
        mean = sum(self.recent) / len(self.recent) if math.isfinite(loss) else loss
        epoch = -(-self.step // per_epoch)
        total = self.recipe.images * self.recipe.epochs
        self.report(FitAdvanced("fit", done, total, None, images_per_second, mean, epoch))

    def _save_partial(self) -> None:
        state = {
            "network": self.classifier.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "position": {"step": self.step, "rate": self.rate, "lowerings": self.lowerings, "seconds": self.seconds},
            "recent": self.recent,
        }
        with _writing(), replacing(self.partial) as temporary:
            torch.save(state, temporary)
            flush_to_disk(temporary)

    def _resume(self) -> None:
        if not self.partial.is_file():
            return
        try:
            self._take(_partial_state(self.partial, self.device))
        except DAMAGE as error:
            if is_out_of_memory(error):
                raise  # The file is whole.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            with _writing():
                aside = set_aside(self.partial, DAMAGED)
            told = f"{self.partial}: is damaged ({reason}); it is {aside.name} now, and the fit starts over"
            self.report(Warned(told))
            self.step, self.lowerings, self.seconds, self.recent = 0, 0, 0.0, []
            self.rate = _RATES.get(self.recipe.model, _RATE)
            self._begin()
            return
        self.report(Warned(f"going on with the fit at step {self.step} of {self.steps}"))

    def _take(self, state: dict[str, Any]) -> None:
        """Goes on from what a partial file holds."""
        position = state["position"]
        step, rate = int(position["step"]), float(position["rate"])
        if not 0 <= step <= self.steps or not 0 < rate < math.inf:
            raise ValueError(f"it stands at step {step}, rate {rate}")
        self.classifier.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.lowerings, self.seconds = int(position["lowerings"]), float(position["seconds"])
        self.step, self.rate, self.recent = step, rate, [float(loss) for loss in state["recent"]]

    def _save(self, accuracy: float) -> Checkpoint:
        """Writes weights and card. The weights come last: without them a card is no checkpoint."""
        path = checkpoints_directory() / f"{self.recipe.stem}.safetensors"
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.classifier.network.state_dict().items()}
        with _writing(), replacing(path) as temporary:
            save_file(tensors, temporary)
            flush_to_disk(temporary)
            card = self._card(accuracy, file_sha256(temporary))
            write_json(path.with_suffix(".json"), card)
        self.partial.unlink(missing_ok=True)
        return Checkpoint(path, card)

    def _card(self, accuracy: float, sha256: str) -> dict[str, Any]:
        return {
            "recipe": asdict(self.recipe),
            "normalize": self.source.normalization,
            "test_accuracy": accuracy,
            "training_loss": sum(self.recent) / len(self.recent),
            "rate": self.rate,
            "optimizer": f"AdamW, batch {BATCH}, weight decay 0.01, warm-up and cosine decay, gradient norm at most 1",
            "seconds": round(self.seconds, 1),
            "device": torch.cuda.get_device_name(self.device) if self.device.is_cuda else processor_name(),
            "versions": {"torch": torch.__version__, "torchvision": importlib.metadata.version("torchvision")},
            "sha256": sha256,
        }


def _partial_state(path: Path, device: Device) -> dict[str, Any]:
    """What a partial file holds; the CRCs of all of it are compared first, which torch does not do."""
    with zipfile.ZipFile(path) as archive:
        if wrong := archive.testzip():
            raise zipfile.BadZipFile(f"{wrong} has another CRC")
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def has_fast_bf16(device: Device) -> bool:
    """Whether bf16 arithmetic beats fp32 on this device: CUDA from Ampere on, processors with AVX512-BF16 or AMX."""
    if device.is_cuda:
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and "avx512_bf16" in flags.read_text(encoding="utf-8", errors="replace")
