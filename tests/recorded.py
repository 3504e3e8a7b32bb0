"""Run directories recorded through the real writer, with planted numbers, for tests of readers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import Condition
from psi_core.config import ResolvedConfig
from psi_core.runs.chunks import (
    Arrays,
    chunk_count,
    chunk_path,
    chunk_range,
    finished_chunks,
    read_arrays,
    write_arrays,
)
from psi_core.runs.creation import create_run, record_model
from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import Finished, Started
from psi_core.runs.loading import DIGESTS, LayerInfo
from psi_core.runs.run import Run
from psi_core.runs.seals import sealed

LAYERS = (
    LayerInfo("conv1", "features.1", "ReLU", (4, 6, 6), 144, 4, 40, 1440),
    LayerInfo("conv2", "features.4", "ReLU", (6, 3, 3), 54, 6, 222, 1944),
    LayerInfo("fc1", "classifier.1", "ReLU", (8,), 8, 8, 440, 432),
)


def record_run(
    runs_dir: Path,
    *,
    images: int = 60,
    chunk: int = 25,
    chunks: Sequence[int] | None = None,
    shift: float = 0.05,
    noise_shift: float = 0.0,
    seed: int = 7,
    silent: int = 0,
    finished: bool = True,
    identity: Mapping[str, Any] | None = None,
    **options: object,
) -> Path:
    """A run of random numbers with a planted shift of `shift` x epsilon / 0.03 in conv1 under attacks.

    Controls and other layers get noise without a shift, but for `noise_shift`, which all conditions but benign have in
    conv1. The first `silent` images are silent in fc1.
    Its controls are a noise and a control of another kind, but for others among the `options`.
    A channel responds alike to all images of one class and chunk. Only `chunks` are written (all by default).
    `identity` is that of the process that stands for the worker.
    """
    values = {
        "controls": "sign-noise,anti-fgsm",
        "images": images,
        "chunk": chunk,
        "batch": 25,
        "threads": 2,
        "size": 28,
        "device": "cpu",
        **options,
    }
    config = ResolvedConfig(**{"normalize": "none", "layers": [layer.name for layer in LAYERS], **values})
    runs_dir.mkdir(parents=True, exist_ok=True)
    directory = create_run(runs_dir, config, LAYERS)
    record_model(
        directory, {"source": "recorded", "sha256": "0" * 64, "class_names": [str(digit) for digit in range(10)]}
    )
    log = EventLog(events_path(directory, 0))
    elsewhere = {"host": "elsewhere", "boot_id": "x", "pid_namespace": "x", "pid": 1, "process_start": 1}
    log.write(Started(**(identity or elsewhere), device="cpu"))
    random = np.random.default_rng(seed)
    conditions = config.conditions
    label = random.integers(0, 10, images)
    base = random.uniform(0.3, 0.7, (1, len(LAYERS), images))
    psi = base + random.normal(0, 0.01, (len(conditions), len(LAYERS), images))
    for place, condition in enumerate(conditions):
        if not condition.is_benign and not condition.is_control:
            psi[place, 0] += shift * _epsilon(condition) / 0.03
        if not condition.is_benign:
            psi[place, 0] += noise_shift
    psi[:, 2, :silent] = np.nan
    units = np.array([[layer.units] for layer in LAYERS])
    activity = 1 - psi * (1 - 1 / units)
    prediction = np.where(random.random((len(conditions), images)) < 0.8, label, (label + 1) % 10)
    epsilons = np.array([[_epsilon(condition)] for condition in conditions])
    whole = {
        "index": np.arange(images),
        "label": label,
        "prediction": prediction,
        "confidence": random.uniform(0, 1, prediction.shape).astype(np.float32),
        "linf": np.broadcast_to(epsilons, prediction.shape).astype(np.float32),
        "l2": np.broadcast_to(epsilons * 20, prediction.shape).astype(np.float32),
        "psi": psi.astype(np.float32),
        "active_fraction": (1 - psi).astype(np.float32),
        "mean_response": (2 - psi).astype(np.float32),
        "n_eff": (activity * units).astype(np.float32),
        "hoyer": ((1 - np.sqrt(activity)) / (1 - 1 / np.sqrt(units))).astype(np.float32),
    }
    for number in range(chunk_count(images, chunk)) if chunks is None else chunks:
        rows = chunk_range(number, images, chunk)
        part = {name: array[..., rows.start : rows.stop] for name, array in whole.items()}
        present, counts = np.unique(part["label"], return_counts=True)
        part |= {"class_labels": present, "class_counts": counts}
        for layer in LAYERS:
            sums = random.uniform(0, 1, (len(conditions), len(present), layer.channels))
            part[f"class_sum/{layer.name}"] = sums
            part[f"square_sum/{layer.name}"] = (sums**2 / counts[:, None]).sum(axis=1)
        rewrite_chunk(directory, number, part)
    if finished:
        log.write(Finished())
    return directory


def replant(directory: Path, **arrays: NDArray[Any]) -> None:
    """Puts other results of all images, the image axis last, in place of those that the chunks hold."""
    for number in finished_chunks(directory):
        part = read_arrays(chunk_path(directory, number))
        planted = {name: array[..., part["index"]].astype(part[name].dtype) for name, array in arrays.items()}
        rewrite_chunk(directory, number, {**part, **planted})


def plant_responses(directory: Path, layer: str, responses: NDArray[np.float64]) -> None:
    """Makes a layer's sums those of these channel means, (condition, image, channel)."""
    for number in finished_chunks(directory):
        part = read_arrays(chunk_path(directory, number))
        mine = responses[:, part["index"]]
        of_class = [mine[:, part["label"] == label].sum(axis=1) for label in part["class_labels"]]
        part[f"class_sum/{layer}"] = np.stack(of_class, axis=1)
        part[f"square_sum/{layer}"] = (mine**2).sum(axis=1)
        rewrite_chunk(directory, number, part)


def remove_square_sums(directory: Path, number: int) -> None:
    """Makes a chunk one of an older version."""
    arrays = read_arrays(chunk_path(directory, number))
    rewrite_chunk(directory, number, {name: array for name, array in arrays.items() if "square_sum" not in name})


def rewrite_chunk(directory: Path, number: int, arrays: Arrays) -> None:
    """Puts arrays in the place of a chunk's, as the run's own worker would write them."""
    write_arrays(chunk_path(directory, number), sealed(arrays, Run(directory).origin, number))


def copy_chunk(source: Path, directory: Path, number: int) -> None:
    """Gives a run the chunk that another one has, as if its own worker had made it."""
    rewrite_chunk(directory, number, read_arrays(chunk_path(source, number)))


def make_older(directory: Path) -> None:
    """Makes a run one of the versions whose chunks carry no digests."""
    config = directory / "config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({key: value for key, value in values.items() if key != DIGESTS}), encoding="utf-8")
    for number in finished_chunks(directory):
        write_arrays(chunk_path(directory, number), read_arrays(chunk_path(directory, number)))


def _epsilon(condition: Condition) -> float:
    """Of images attacked elsewhere, whose epsilon nobody knows: the study's."""
    return 0.03 if condition.is_external else condition.epsilon
