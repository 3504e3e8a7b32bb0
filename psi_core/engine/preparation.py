"""Preparation: a run is checked, and every option resolved, before anything is written or computed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from psi_core.conditions import FOOLBOX
from psi_core.config import MemoryFormat, ResolvedConfig, RunConfig
from psi_core.devices import CPU, Device
from psi_core.engine.attacks.foolbox import require_foolbox_attack
from psi_core.engine.attacks.perturbations import forwards_per_image
from psi_core.engine.devices import (
    automatic_batch,
    automatic_threads,
    device_note,
    require_precision,
    resolve_device,
    usable_gpus,
    worker_device,
)
from psi_core.engine.images import Dataset, absolute_data, dataset_size, load_dataset, load_external
from psi_core.engine.images.classes import head_names, match_classes, match_names
from psi_core.engine.images.external import ExternalImages
from psi_core.engine.images.folders import folder_notes
from psi_core.engine.images.npz import array_notes
from psi_core.engine.images.pictures import PictureDataset
from psi_core.engine.measure.step import PER_IMAGE
from psi_core.engine.models.checkpoints import Checkpoint, Recipe, default_epochs, find_checkpoint
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.dry_forward import dry_forward
from psi_core.engine.models.layers import (
    LayerCall,
    NetworkTrace,
    axis_notes,
    describe_layers,
    exact_name,
    select_calls,
    with_named_axes,
)
from psi_core.engine.models.sources import (
    ModelSource,
    absolute_model,
    blank_network,
    build_classifier,
    model_source,
    normalization,
    resolved_normalization,
)
from psi_core.engine.models.state_dicts import StateDict
from psi_core.engine.models.weights import (
    apply_weights,
    classes_in,
    imagenet_file,
    read_weights,
    state_sha256,
)
from psi_core.engine.sampling import positions_of
from psi_core.errors import ConfigError, ModelError
from psi_core.files import file_sha256, typed_path
from psi_core.plain_text import counted
from psi_core.runs.chunks import chunk_count
from psi_core.runs.loading import LayerInfo

_CHUNK_IMAGES = 500
_LEAST_CHUNK_IMAGES = 50
_CPU_CHUNK_MULTIPLY_ADDS = 2e12
"""Work of one chunk on a CPU, about a minute: a killed worker loses no more."""

_MOST_ABREAST = 4
"""Batches computed at once at most: what Python does between operations it does for one of them at a time."""

_LARGEST_BATCH_ABREAST = 512
"""Images."""

_CHUNKS_AT_HAND = 2
"""Chunks whose batches are begun at once: the one that is made, and the next one."""

_SMALL_MULTIPLY_ADDS = 10_000_000
"""Work of one image below which threads that share every operation wait for each other; LeNet-5 has 420,000."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that is checked and can be started.

    Attributes:
        config: what it computes.
        source: source of its model.
        classifier: in eval mode, frozen, on the CPU. It has its weights, but for `fitted` ones, which come later.
        dataset: its labels are classes of the network.
        positions: positions of the run's images in it, ascending, (image,).
        external: images attacked elsewhere, or None.
        trace: calls recorded in one dry forward.
        calls: the tapped layers in forward order.
        layers: the same as `layers.json` describes them.
        card: content of `model.json`; empty until `fitted` weights come.
        notes: one sentence for each thing that was done to network and weights, and for what cannot be told.
    """

    config: ResolvedConfig
    source: ModelSource
    classifier: Classifier
    dataset: Dataset
    positions: NDArray[np.int64]
    external: ExternalImages | PictureDataset | None
    trace: NetworkTrace
    calls: tuple[LayerCall, ...]
    layers: tuple[LayerInfo, ...]
    card: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def recipe(self) -> Recipe:
        """The recipe that `fitted` stands for: the default one for this model, data and size."""
        images = dataset_size(self.config.data, "train", self.config.resize)
        epochs = default_epochs(images)
        return Recipe(self.config.model, self.config.data, self.config.size, images, epochs, resize=self.config.resize)

    @property
    def needs_fit(self) -> bool:
        """Whether its weights must be fitted before the first image."""
        return self.config.weights == "fitted" and find_checkpoint(self.recipe) is None

    def with_checkpoint(self, checkpoint: Checkpoint) -> "Prepared":
        """The same run with fitted weights."""
        state, _ = read_weights(checkpoint.path, self.classifier.network)
        apply_weights(self.classifier.network, state, str(checkpoint.path))
        sha256 = checkpoint.card["sha256"]
        card = _model_card(self.config, self.dataset, self.external, self.trace, str(checkpoint.path), sha256)
        return replace(self, card={**card, "fit": checkpoint.card})

    def with_axes_of(self, layers: Sequence[LayerInfo]) -> "Prepared":
        """The same run with the channel axes that it began with: older versions took axis 1 for every layer."""
        if [layer.shape for layer in layers] != [call.shape for call in self.calls]:
            return self
        axes = [layer.channel_axis for layer in layers]
        calls = tuple(replace(call, channel_axis=axis) for call, axis in zip(self.calls, axes, strict=True))
        return replace(self, calls=calls, layers=describe_layers(calls, self.config.unit))

    def disk_bytes(self) -> int:
        """Size of the run directory, about."""
        config = self.config
        rows = len(config.conditions) * (len(self.layers) * len(config.measures) + len(PER_IMAGE))
        classes = min(len(self.dataset.class_names), config.chunk)
        sums = len(config.conditions) * sum(layer.channels for layer in self.layers) * (classes + 1) * 8
        return int(1.1 * (rows * 4 * config.images + sums * chunk_count(config.images, config.chunk))) + 1_000_000


def prepare(config: RunConfig, memory_format: MemoryFormat | None = None) -> Prepared:
    """Checks all that can be checked without computing an image, and resolves every option.

    Args:
        config: what is asked for.
        memory_format: the one that the run began with; None where it is to be found out.

    Raises:
        ConfigError, ModelError, DataError: the run is refused; nothing has been written.
    """
    config = _absolute(config)
    for name in config.attack:
        if name.startswith(FOOLBOX):
            require_foolbox_attack(name.removeprefix(FOOLBOX))
    device = resolve_device(config.device)
    if device.is_cuda and config.devices > (there := len(usable_gpus())):
        raise ConfigError(f"devices: {config.devices} asked for and {there} there; write fewer")
    for worker in range(config.devices):
        require_precision(config.precision, worker_device(device, worker))
    source = model_source(config.model)
    size = source.input_size(config.size)
    _require_useful_resize(config, size)
    dataset = load_dataset(config.data, config.split, config.resize, config.class_order)
    if config.weights == "fitted" and config.data != "mnist":
        # The head has the classes of the training part; without one there is nothing to fit to.
        dataset = match_names(dataset, load_dataset(config.data, "train", config.resize).class_names)
    by_class = config.labels == "true"
    positions = positions_of(dataset, config.images, config.order, config.seed, by_class=by_class)
    own_labels = dataset.labels
    classes = len(dataset.class_names)
    place, state, notes, head = _weights_file(source, config, classes)
    normalize = resolved_normalization(source, config)
    if config.weights == "fitted" and normalize != source.normalization:
        raise ConfigError(
            f"normalize: the fitted weights of {config.model} were made with {source.normalization}, not {normalize}; "
            "leave --normalize out, or name a weights file"
        )
    classifier = _build(source, head, normalize, config.seed)
    if state is not None:
        apply_weights(classifier.network, state, str(place))
    trace = dry_forward(classifier, source, size, memory_format)
    notes += [*source.notes, *trace.notes]
    _require_runnable(trace, config.model, device)
    notes += folder_notes(dataset) if isinstance(dataset, PictureDataset) else array_notes(dataset, size)
    _require_channels(dataset, positions, trace, size)
    # A fitted head has the classes of the training part, in its order.
    if config.labels == "true" and (config.weights != "fitted" or config.data == "mnist"):
        dataset = match_classes(dataset, trace.classes, config.model, config.class_order, source.class_names)
    external = _external_images(config, dataset, own_labels, positions, size)
    calls = select_calls(trace, config.layers, config.rectify, config.model)
    calls = with_named_axes(calls, config.channel_axis)
    resolved = ResolvedConfig(
        **{
            **config.model_dump(),
            "weights": str(place) if place is not None and config.weights != "imagenet" else config.weights,
            "device": device,
            "own_distances": getattr(config, "own_distances", True),
            "size": size,
            "images": len(positions),
            "normalize": normalize,
            "layers": tuple(exact_name(call) for call in calls),
            "memory_format": classifier.memory_format,
            **_division(config, source, trace, device, len(positions)),
        }
    )
    layers = describe_layers(calls, config.unit)
    notes += [note] if (note := device_note(config.device, device)) else []
    card: dict[str, Any] = {}
    if config.weights != "fitted":
        sha256 = file_sha256(place) if place is not None else state_sha256(classifier.network)
        card = _model_card(resolved, dataset, external, trace, str(place or config.weights), sha256)
        if source.class_names and config.labels == "predicted":
            card["class_names"] = list(source.class_names)
    notes += axis_notes(calls)
    return Prepared(
        resolved, source, classifier, dataset, positions, external, trace, calls, layers, card, tuple(notes)
    )


def _weights_file(
    source: ModelSource, config: RunConfig, classes: int
) -> tuple[Path | None, StateDict | None, list[str], int]:
    """Path, tensors and notes of the weights file, if there is one, and the classes of the head to build."""
    if source.has_own_weights and config.weights in ("fitted", "random", "imagenet"):
        raise ConfigError(f"weights: {source.name} comes with its own weights; leave --weights out, or name a file")
    if config.weights in ("fitted", "random", "built"):
        return None, None, [], classes
    path = imagenet_file(source) if config.weights == "imagenet" else typed_path(config.weights).absolute()
    blank = blank_network(source, classes)
    # What is named by the user holds, whatever the file says.
    expected = normalization(resolved_normalization(source, config)) if config.normalize == "auto" else None
    state, notes = read_weights(path, blank, expected)
    found = classes_in(state, blank)
    return path, state, notes, classes if found is None else found


def _build(source: ModelSource, classes: int, normalize: str, seed: int) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_classifier(source, classes, normalize)


def _absolute(config: RunConfig) -> RunConfig:
    """The same with absolute paths, so that a worker started elsewhere reads the same files."""
    paths = {"model": absolute_model(config.model), "data": absolute_data(config.data)}
    if config.attacked:
        paths["attacked"] = absolute_data(config.attacked)
    return config.model_copy(update=paths)


def _require_useful_resize(config: RunConfig, size: int) -> None:
    if config.resize is None:
        return
    if config.resize < size:
        raise ConfigError(f"resize: {config.resize} is below the input of {size} pixels; write at least {size}")
    if config.data.partition(":")[0] in ("mnist", "npz"):
        raise ConfigError(f"resize: images of {config.data} are brought to --size as they are; leave --resize out")


def _require_runnable(trace: NetworkTrace, model: str, device: Device) -> None:
    """Refuses a network whose weights would not be on the run's device, or that has nothing to choose from."""
    if device.is_cuda and trace.strangers:
        raise ModelError(
            f"model: it calls modules that it does not hold ({', '.join(trace.strangers)}), which stay on the CPU; "
            "keep them in an nn.ModuleList, or add --device cpu"
        )
    if trace.classes < 2:
        raise ModelError(f"model: {model} has one class, so that no attack can change it; use one with more")


def _require_channels(dataset: Dataset, positions: NDArray[np.int64], trace: NetworkTrace, size: int) -> None:
    """Refuses color under a network that takes neither gray nor three colors; gray fills whatever it takes."""
    if trace.channels in (1, 3):
        return
    pixels = dataset.read(positions[:1], size, trace.channels).pixels
    if pixels.ndim == 4 and pixels.shape[3] not in (1, trace.channels):
        there = counted(trace.channels, "channel")
        raise ModelError(
            f"model: it takes {there}, and images of {dataset.name} have {pixels.shape[3]}; wrap it "
            f"so that it makes the others itself, with input_size = ({pixels.shape[3]}, {size}, {size})"
        )


def _external_images(
    config: RunConfig, dataset: Dataset, own_labels: NDArray[np.int64], positions: NDArray[np.int64], size: int
) -> ExternalImages | PictureDataset | None:
    if not config.attacked:
        return None
    labels = (own_labels, dataset.labels) if config.labels == "true" else ()
    may_lack = config.skip_unreadable
    return load_external(config.attacked, dataset, positions, size, config.resize, labels, may_lack=may_lack)


def _automatic_chunk(device: Device, trace: NetworkTrace, config: RunConfig, batch: int) -> int:
    """500 images; on a CPU fewer for heavy models, and then a multiple of the batch; on a GPU at least four batches.

    A GPU's batches are large, and one that is not full costs nearly as much as a full one.
    """
    if device.is_cuda:
        return batch * max(4, -(-_CHUNK_IMAGES // batch))
    per_image = trace.multiply_adds * forwards_per_image(config)
    affordable = int(_CPU_CHUNK_MULTIPLY_ADDS / max(1, per_image))
    if affordable >= _CHUNK_IMAGES:
        return _CHUNK_IMAGES
    wanted = max(_LEAST_CHUNK_IMAGES, affordable)
    return wanted if batch > wanted else -(-wanted // batch) * batch


def _division(
    config: RunConfig, source: ModelSource, trace: NetworkTrace, device: Device, images: int
) -> dict[str, int]:
    """How images and threads are divided: `batch`, `chunk`, `threads`, and how many batches are computed `abreast`.

    Threads that share the operations of a small network wait for each other, so that each gets batches of its own: as
    large as two chunks, the one that is made and the one after it, have for every thread, since between operations
    threads wait for Python. Only networks that are known to keep nothing between forwards, and no attacks of foolbox,
    which might keep something.
    """
    batch = automatic_batch(device, trace.activation_bytes) if config.batch == "auto" else config.batch
    chunk = _automatic_chunk(device, trace, config, batch) if config.chunk == "auto" else config.chunk
    threads = automatic_threads() if config.threads == "auto" else config.threads
    is_known = source.is_plain and not any(name.startswith(FOOLBOX) for name in config.attack)
    is_small = trace.multiply_adds <= _SMALL_MULTIPLY_ADDS
    most = min(threads, _MOST_ABREAST) if device == CPU and is_known and is_small and not config.compile else 1
    if config.batch == "auto" and most > 1:
        share = -(-min(images, _CHUNKS_AT_HAND * chunk) // most)
        fitting = automatic_batch(device, most * trace.activation_bytes, _LARGEST_BATCH_ABREAST)
        batch = min(fitting, chunk, share + share % 2)  # Even: controls such as donor pair the images of a batch.
    return {"batch": batch, "chunk": chunk, "threads": threads, "abreast": min(most, -(-images // batch))}


def _model_card(
    config: ResolvedConfig,
    dataset: Dataset,
    external: ExternalImages | PictureDataset | None,
    trace: NetworkTrace,
    place: str,
    sha256: str,
) -> dict[str, Any]:
    return {
        "model": config.model,
        "weights": config.weights,
        "source": place,
        "sha256": sha256,
        "data_sha256": dataset.fingerprint,
        "attacked_sha256": external.fingerprint if external is not None else None,
        "class_names": head_names(config, dataset, trace.classes, sha256),
        "parameters": trace.calls[-1].parameters if trace.calls else 0,
        "multiply_adds": trace.multiply_adds,
        "input_shape": [trace.channels, config.size, config.size],
    }
