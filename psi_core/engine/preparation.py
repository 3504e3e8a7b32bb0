"""Preparation: everything about a run checked and resolved before its directory is made."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from psi_core.chunks import chunk_count
from psi_core.config import RunConfig
from psi_core.engine.checkpoints import Checkpoint, Recipe, default_epochs, find_checkpoint
from psi_core.engine.datasets import Dataset, first_images, load_dataset
from psi_core.engine.devices import automatic_batch, resolve_device, usable_cores
from psi_core.engine.layers import LayerCall, NetworkTrace, describe_layers, select_calls, trace_network
from psi_core.engine.models import (
    IMAGENET_CLASSES,
    Classifier,
    ModelSource,
    absolute_model,
    build_classifier,
    input_channels,
    model_source,
    resolved_normalization,
)
from psi_core.engine.weights import (
    StateDict,
    apply_weights,
    classes_in,
    file_sha256,
    imagenet_file,
    read_weights,
    state_sha256,
)
from psi_core.errors import ConfigError
from psi_core.runs import LayerInfo

_CHUNK_IMAGES = 500
_LEAST_CHUNK_IMAGES = 50
_CPU_CHUNK_MULTIPLY_ADDS = 2e12
"""Work of one chunk on a CPU, so that at most a minute or so is lost with a killed worker."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that can be started.

    Attributes:
        config: every field resolved.
        source: of the model.
        classifier: in eval mode, frozen, on the CPU; weights as named, but for `fitted`, which come later.
        dataset: whole.
        trace: of one dry forward.
        calls: tapped layers in forward order.
        layers: the same, as `layers.json` holds them.
        card: `model.json`, but for `fitted` weights, where it is empty.
        notes: what was done to the weights file on the way, one sentence each.
    """

    config: RunConfig
    source: ModelSource
    classifier: Classifier
    dataset: Dataset
    trace: NetworkTrace
    calls: tuple[LayerCall, ...]
    layers: tuple[LayerInfo, ...]
    card: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def recipe(self) -> Recipe:
        """The default recipe for this model, data and size, which `fitted` stands for."""
        assert self.config.size is not None, "a prepared run's configuration is resolved"
        images = len(load_dataset(self.config.data, "train"))
        return Recipe(self.config.model, self.config.data, self.config.size, images, default_epochs(images))

    @property
    def needs_fit(self) -> bool:
        """Whether weights must be fitted before the first image."""
        return self.config.weights == "fitted" and find_checkpoint(self.recipe) is None

    def with_checkpoint(self, checkpoint: Checkpoint) -> "Prepared":
        """The same with fitted weights in place."""
        state, _ = read_weights(checkpoint.path)
        apply_weights(self.classifier.network, state, str(checkpoint.path))
        sha256 = checkpoint.card["sha256"]
        card = _model_card(self.config, self.dataset, self.trace, str(checkpoint.path), sha256)
        return replace(self, card={**card, "fit": checkpoint.card})

    def disk_bytes(self) -> int:
        """About what the run directory will take."""
        config = self.config
        assert config.images is not None and isinstance(config.chunk, int), "a prepared run's configuration is resolved"
        rows = len(config.conditions) * (len(self.layers) * len(config.measures) + 4)
        sums = len(config.conditions) * sum(layer.channels for layer in self.layers) * len(self.dataset.class_names) * 8
        return int(1.1 * (rows * 4 * config.images + sums * chunk_count(config.images, config.chunk))) + 1_000_000


def prepare(config: RunConfig) -> Prepared:
    """Checks everything that can be checked without work, and resolves every field.

    Raises:
        ConfigError, ModelError, DataError: something cannot stand; nothing has been written.
    """
    device = resolve_device(config.device)
    if device.startswith("cuda") and config.devices > torch.cuda.device_count():
        raise ConfigError(f"devices: {config.devices} asked for and {torch.cuda.device_count()} there; write fewer")
    source = model_source(config.model)
    size = source.input_size(config.size)
    dataset = load_dataset(config.data, config.split)
    images = first_images(dataset, config.images)
    state, notes, place = _weights_file(source, config)
    classes = len(dataset.class_names)
    normalize = resolved_normalization(source, config)
    if config.weights == "fitted" and normalize != source.normalization:
        raise ConfigError(
            f"normalize: the fitted weights of {config.model} were made with {source.normalization}, not {normalize}; "
            "leave --normalize out, or name a weights file"
        )
    classifier = _build(source, _head_classes(source, state, config, classes), normalize, config.seed)
    if state is not None:
        apply_weights(classifier.network, state, str(place))
    trace = trace_network(classifier.network, input_channels(classifier.network), size)
    _require_matching_classes(trace.classes, classes, config)
    calls = select_calls(trace, config.layers, config.rectify, config.model)
    batch = automatic_batch(device, trace.activation_bytes) if config.batch == "auto" else config.batch
    resolved = config.model_copy(
        update={
            "model": absolute_model(config.model),
            "weights": str(place) if place is not None and config.weights != "imagenet" else config.weights,
            "device": device,
            "size": size,
            "images": images,
            "normalize": normalize,
            "layers": tuple(call.name for call in calls),
            "batch": batch,
            "chunk": _automatic_chunk(device, trace, config, batch) if config.chunk == "auto" else config.chunk,
            "threads": usable_cores() if config.threads == "auto" else config.threads,
        }
    )
    layers = describe_layers(calls, config.unit)
    card: dict[str, Any] = {}
    if config.weights != "fitted":
        sha256 = file_sha256(place) if place is not None else state_sha256(classifier.network)
        card = _model_card(resolved, dataset, trace, str(place or config.weights), sha256)
    return Prepared(resolved, source, classifier, dataset, trace, calls, layers, card, tuple(notes))


def _weights_file(source: ModelSource, config: RunConfig) -> tuple[StateDict | None, list[str], Path | None]:
    if config.weights in ("fitted", "random", "built"):
        return None, [], None
    path = imagenet_file(source) if config.weights == "imagenet" else Path(config.weights).expanduser().absolute()
    state, notes = read_weights(path)
    return state, notes, path


def _head_classes(source: ModelSource, state: StateDict | None, config: RunConfig, classes: int) -> int:
    """Classes of the head to build: those in the weights where they say so, else the data's."""
    if config.weights == "imagenet":
        return IMAGENET_CLASSES
    if state is None:
        return classes
    with torch.device("meta"):
        found = classes_in(state, source.build(classes))
    # A head of another width is only right with --labels predicted; elsewhere the shapes are the clearer message.
    return found if found is not None and config.labels == "predicted" else classes


def _build(source: ModelSource, classes: int, normalize: str, seed: int) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_classifier(source, classes, normalize)


def _require_matching_classes(head: int, classes: int, config: RunConfig) -> None:
    if head != classes and config.labels == "true":
        raise ConfigError(
            f"labels: {config.model} has {head} classes and {config.data} {classes}, so true labels mean nothing; "
            "add --labels predicted, or use weights made for this data"
        )


def _automatic_chunk(device: str, trace: NetworkTrace, config: RunConfig, batch: int) -> int:
    """500 images; on a CPU fewer for heavy models, then whole batches."""
    if device != "cpu":
        return _CHUNK_IMAGES
    per_image = trace.multiply_adds * (len(config.conditions) + 1)
    affordable = int(_CPU_CHUNK_MULTIPLY_ADDS / max(1, per_image))
    if affordable >= _CHUNK_IMAGES:
        return _CHUNK_IMAGES
    wanted = max(_LEAST_CHUNK_IMAGES, affordable)
    return wanted if batch > wanted else -(-wanted // batch) * batch


def _model_card(config: RunConfig, dataset: Dataset, trace: NetworkTrace, place: str, sha256: str) -> dict[str, Any]:
    names = dataset.class_names if trace.classes == len(dataset.class_names) else [str(i) for i in range(trace.classes)]
    return {
        "model": config.model,
        "weights": config.weights,
        "source": place,
        "sha256": sha256,
        "class_names": list(names),
        "parameters": trace.calls[-1].parameters if trace.calls else 0,
        "multiply_adds": trace.multiply_adds,
    }
