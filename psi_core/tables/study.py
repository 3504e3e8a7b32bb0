"""The reproduced study: its two tables of peak values, and every reading of "peak value" measured beside them.

AlexNet and VGG11 on the MNIST validation set, FGSM with epsilon 0.03, PSI at the ReLU outputs.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from psi_core.conditions import BENIGN, Condition
from psi_core.runs.run import Run
from psi_core.statistics.histograms import TABLE_BINS, find_peaks, table_edges
from psi_core.tables.columns import CONDITION, LAYER, Cell, Column, numbers
from psi_core.tables.summary import headline_condition
from psi_core.tables.table import Cells, View, label_notes

STUDY_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("images", "images", "count", "Images with a PSI; silent ones are left out."),
    Column("bins", "bins", "count", "Bins of the histogram over 0..1; other bins give other heights."),
    Column("peak_left", "peak left", "psi", "Left edge of the fullest bin; the lowest of equal ones."),
    Column("peak_right", "peak right", "psi", "Right edge of the fullest bin."),
    Column("published", "published", "percent", "The peak value that the study's table gives.", True),
    Column(
        "height_percent",
        "H %",
        "percent",
        "Reading H: images in the fullest bin. Concentration, not sparseness.",
        True,
        "height H %",
    ),
    Column(
        "accuracy_percent",
        "A %",
        "percent",
        "Reading A: accuracy of the images in the fullest bin.",
        True,
        "accuracy A %",
    ),
    Column(
        "location", "L", "percent", "Reading L: 100 x the PSI at the middle of the fullest bin.", True, "location L"
    ),
    Column("published_change", "d published", "change", "Published value, attacked minus benign."),
    Column("height_change", "d H", "change", "Height, attacked minus benign."),
    Column("accuracy_change", "d A", "change", "Accuracy in the fullest bin, attacked minus benign."),
    Column("location_change", "d L", "change", "Location, attacked minus benign."),
    Column("agrees_height", "H agrees", "flag", "Whether H moves the way the published value does.", True, "H moves"),
    Column("agrees_accuracy", "A agrees", "flag", "Whether A moves the way the published value does.", True, "A moves"),
    Column("agrees_location", "L agrees", "flag", "Whether L moves the way the published value does.", True, "L moves"),
)

STUDY_ATTACK = Condition("fgsm", 0.03)
"""The attack of the study."""


def study_note(bins: int = TABLE_BINS) -> str:
    """What every reader of the study table must know, in lines of at most 71 characters."""
    return f"""\
peak value, in three readings of the fullest of {bins} bins over 0..1:
H its share of images: concentration, not sparseness
A the accuracy of these images
L 100 x the PSI at its middle"""


STUDY_NOTE = study_note()
"""The note for the study's own 20 bins."""


def _published(
    layers: Sequence[str], benign: Sequence[float], attacked: Sequence[float]
) -> dict[str, tuple[float, float]]:
    return dict(zip(layers, zip(benign, attacked, strict=True), strict=True))


PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "alexnet": _published(
        ("conv1", "conv2", "conv3", "conv4", "conv5", "fc1", "fc2"),
        (39.4, 93.4, 84.2, 60.2, 60.3, 79.6, 94.2),
        (68.2, 82.1, 59.2, 63.4, 63.4, 99.8, 99.4),
    ),
    "vgg11": _published(
        ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "conv7", "conv8", "fc1", "fc2"),
        (18.6, 11.2, 47.3, 58.2, 77.6, 77.5, 98.3, 99.8, 60.1, 78.4),
        (28.8, 78.3, 36.3, 36.6, 36.5, 80.7, 60.5, 61.2, 70.2, 51.4),
    ),
}
"""Peak values by model and layer, benign and attacked, as the study's tables 1 and 2 give them."""


def study_condition(run: Run) -> str:
    """The condition that stands beside the study's attack: FGSM at 0.03, or else the run's headline condition."""
    return STUDY_ATTACK.name if STUDY_ATTACK.name in run.conditions else headline_condition(run)


def study_rows(run: Run, view: View) -> Iterator[Cells]:
    """Two rows per layer, benign and attacked; changes and agreement stand in the attacked one.

    A reading agrees where it moves the way the published value does; one that stays where it is does not agree.
    Published values are None for models and layers that the study does not have, accuracies without true labels.
    """
    attacked = study_condition(run)
    places = [0, run.conditions.index(attacked)]
    psi = run.psi[places]
    correct = (run.predictions[places] == run.labels) if run.config.labels == "true" else None
    peaks = find_peaks(psi, table_edges(view.bins), correct)
    images = np.count_nonzero(~np.isnan(psi), axis=-1)
    published = PUBLISHED.get(run.config.model.removeprefix("torchvision:"), {})
    for at_layer, layer in enumerate(run.layers):
        pair: list[Cells] = [
            (
                published[layer][at] if layer in published else None,
                *numbers(
                    peaks.percent[at, at_layer], peaks.accuracy_percent[at, at_layer], 100 * peaks.center[at, at_layer]
                ),
            )
            for at in range(2)
        ]
        changes = [_difference(*values) for values in zip(*pair, strict=True)]
        agreements = [_agreement(changes[0], change) for change in changes[1:]]
        for at, condition in enumerate((BENIGN, attacked)):
            yield (
                layer,
                condition,
                *numbers(images[at, at_layer]),
                view.bins,
                *numbers(peaks.left[at, at_layer], peaks.right[at, at_layer]),
                *pair[at],
                *((*changes, *agreements) if at else [None] * 7),
            )


def study_notes(run: Run, view: View) -> list[str]:
    """The three readings, and whose the labels are."""
    return [*study_note(view.bins).splitlines(), *label_notes(run)]


def _difference(benign: Cell, attacked: Cell) -> float | None:
    return attacked - benign if isinstance(benign, float) and isinstance(attacked, float) else None


def _agreement(published: float | None, measured: float | None) -> bool | None:
    """Whether two changes point the same way."""
    return None if published is None or measured is None else published * measured > 0
