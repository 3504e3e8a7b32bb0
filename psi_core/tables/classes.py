"""The classes table: recognition and sparseness by class."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi_core.runs.loading import LayerInfo
from psi_core.runs.run import Run
from psi_core.statistics.classes import NEARLY_DEAD, dead_channels, liu_sparseness, nearly_dead_channels
from psi_core.statistics.paired import percent, population_sparseness
from psi_core.tables.columns import ACCURACY, CONDITION, LABEL, LAYER, Column, numbers
from psi_core.tables.table import Cells, View, label_notes

LEAST_CLASSES = 3
"""Classes that a spread across classes needs: over two, every z-score is 1 or -1, and every r too."""

CLASS_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    LABEL,
    Column("class_name", "class", "text", "Name of the class.", True),
    Column("images", "images", "count", "Images of the class, silent ones too.", True),
    ACCURACY,
    Column("psi_mean", "PSI", "psi", "Mean over its images of their PSI.", True),
    Column("psi_class_mean", "PSI of mean", "psi", "PSI over channels of the class's mean response.", True),
    Column(
        "psi_liu",
        "PSI Liu",
        "psi",
        "By the preset of Liu, Zhen & Liu 2020, each channel's mean and sd across classes frozen at benign, dead "
        "channels kept, nearly dead ones left out. Needs 3 classes.",
        on_screen="Liu frozen",
    ),
    Column(
        "psi_liu_live",
        "PSI Liu live",
        "psi",
        "The same without the dead channels too.",
        on_screen="Liu live",
    ),
    Column(
        "psi_liu_separate",
        "PSI Liu separate",
        "psi",
        "The same preset with each condition's own mean and sd, all channels kept: an attack moves its own yardstick.",
        on_screen="Liu separate",
    ),
    Column("dead_channels", "dead", "count", "Channels of the layer whose mean is alike for all benign classes."),
    Column("channels", "channels", "count", "Channels of the layer."),
    Column(
        "nearly_dead_channels",
        "nearly dead",
        "count",
        f"Further channels whose sd across benign classes is below {NEARLY_DEAD:g} of the live ones' median.",
    ),
)


@dataclass(frozen=True, slots=True)
class ClassValues:
    """What images show about the classes that have some; NaN where there is no value.

    Attributes:
        labels: (class,), ascending.
        images: how many each has, silent ones too.
        accuracy_percent: (condition, class); NaN where the labels are the network's own predictions.
        psi_mean: mean over images, (condition, layer, class).
    """

    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    accuracy_percent: NDArray[np.float64]
    psi_mean: NDArray[np.float64]


def class_values(run: Run) -> ClassValues:
    """Recognition and mean PSI by class, open chunks too.

    Raises:
        RunError: the run has no results yet.
    """
    psi = run.psi.astype(np.float64)
    labels, images = np.unique(run.labels, return_counts=True)
    accuracy = percent(_class_totals(run.predictions == run.labels, run.labels), images)
    if run.config.labels == "predicted":
        accuracy = np.full_like(accuracy, np.nan)
    silent = np.isnan(psi)
    totals = _class_totals(np.where(silent, 0.0, psi), run.labels)
    return ClassValues(labels, images, accuracy, percent(totals, _class_totals(~silent, run.labels)) / 100)


def class_means(run: Run, layer: LayerInfo, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean response of each channel to each class, (condition, class, channel).

    NaN for a class that only open chunks have: these have no sums yet.
    """
    if not run.has_sums:
        return np.full((len(run.conditions), len(labels), layer.channels), np.nan)
    present, counts, sums = run.class_sums(layer.name)
    sums /= counts[:, None]
    if len(present) == len(labels):
        return sums
    means = np.full((len(sums), len(labels), sums.shape[-1]), np.nan)
    means[:, np.searchsorted(labels, present)] = sums
    return means


def class_rows(run: Run, _view: View) -> Iterator[Cells]:
    """One row per layer, condition and class that has images.

    What rests on class means does not count open chunks.
    """
    values = class_values(run)
    names = run.model.get("class_names") or []
    for at_layer, layer in enumerate(run.layer_infos):
        means = class_means(run, layer, values.labels)
        of_means, of_liu = population_sparseness(means), _liu_sparseness(means)
        dead, nearly_dead = (_count(channels, means) for channels in (dead_channels, nearly_dead_channels))
        for at, condition in enumerate(run.conditions):
            for number, label in enumerate(values.labels.tolist()):
                yield (
                    layer.name,
                    condition,
                    label,
                    str(names[label]) if 0 <= label < len(names) else None,
                    *numbers(
                        values.images[number],
                        values.accuracy_percent[at, number],
                        values.psi_mean[at, at_layer, number],
                        of_means[at, number],
                        *(sparseness[at, number] for sparseness in of_liu),
                    ),
                    dead,
                    means.shape[-1],
                    nearly_dead,
                )


def class_notes(run: Run, _view: View) -> list[str]:
    """What Liu's preset leaves out, and whose the labels are."""
    of_liu = (
        "PSI Liu and PSI Liu live take each channel's mean and sd across classes from benign and leave out channels "
        f"nearly dead there (sd below {NEARLY_DEAD:g} of the live ones' median), which would dominate every other "
        "condition; PSI Liu separate keeps them: trust a change that it shows as well"
    )
    return [of_liu, *label_notes(run)]


def _class_totals(values: NDArray[np.generic], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums over the images of each class, ascending: (..., image) to (..., class)."""
    order = np.argsort(labels, kind="stable")
    starts = np.unique(labels[order], return_index=True)[1]
    return np.add.reduceat(values[..., order].astype(np.float64), starts, axis=-1)


def _has_spread(means: NDArray[np.float64]) -> bool:
    """Whether enough classes have a mean, (condition, class, channel)."""
    return int(np.count_nonzero(~np.isnan(means[0]).any(axis=-1))) >= LEAST_CLASSES


def _liu_sparseness(means: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The three forms of Liu's preset, frozen, live and separate, each (condition, class)."""
    if not _has_spread(means):
        return (np.full(means.shape[:2], np.nan),) * 3
    return liu_sparseness(means, means[0]), liu_sparseness(means, means[0], drops_dead=True), liu_sparseness(means)


def _count(which: Callable[[NDArray[np.float64]], NDArray[np.bool_]], means: NDArray[np.float64]) -> int | None:
    """How many channels are such when benign."""
    return int(np.count_nonzero(which(means[0]))) if _has_spread(means) else None
