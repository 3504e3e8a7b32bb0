"""The reproduced study: its two tables of peak values, and every reading of "peak value" measured beside them.

AlexNet and VGG11 on the MNIST validation set, FGSM with epsilon 0.03, PSI at the ReLU outputs.
"""

from collections.abc import Sequence

import numpy as np

from psi_core.conditions import BENIGN, Condition
from psi_core.runs.run import Run
from psi_core.statistics.histograms import TABLE_BINS, find_peaks, table_edges
from psi_core.tables.columns import CONDITION, LAYER, Cell, Column, Row, as_cell
from psi_core.tables.summary import headline_condition

STUDY_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("images", "images", "count", "Images with a PSI; silent ones are left out."),
    Column("bins", "bins", "count", "Bins of the histogram over 0..1; other bins give other heights."),
    Column("peak_left", "peak left", "psi", "Left edge of the fullest bin; the lowest of equal ones."),
    Column("peak_right", "peak right", "psi", "Right edge of the fullest bin."),
    Column("published", "published", "percent", "The peak value that the study's table gives.", True),
    Column(
        "height_percent", "H %", "percent", "Reading H: images in the fullest bin. Concentration, not sparseness.", True
    ),
    Column("accuracy_percent", "A %", "percent", "Reading A: accuracy of the images in the fullest bin.", True),
    Column("location", "L", "percent", "Reading L: 100 x the PSI at the middle of the fullest bin.", True),
    Column("published_change", "d published", "change", "Published value, attacked minus benign."),
    Column("height_change", "d H", "change", "Height, attacked minus benign."),
    Column("accuracy_change", "d A", "change", "Accuracy in the fullest bin, attacked minus benign."),
    Column("location_change", "d L", "change", "Location, attacked minus benign."),
    Column("agrees_height", "H agrees", "flag", "Whether H moves the way the published value does.", True),
    Column("agrees_accuracy", "A agrees", "flag", "Whether A moves the way the published value does.", True),
    Column("agrees_location", "L agrees", "flag", "Whether L moves the way the published value does.", True),
)

STUDY_ATTACK = Condition("fgsm", 0.03)
"""The attack of the study."""


def study_note(bins: int = TABLE_BINS) -> str:
    """What every reader of the study table must be told, in lines of at most 71 characters."""
    return f"""\
peak value, in three readings of the fullest of {bins} bins over 0..1:
H its share of images: concentration, not sparseness
A the accuracy of these images
L 100 x the PSI at its middle"""


STUDY_NOTE = study_note()
"""The note for the study's own 20 bins."""

READINGS: dict[str, str] = {"height": "height_percent", "accuracy": "accuracy_percent", "location": "location"}
"""The three readings of "peak value", and the column that holds each."""


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


def study_rows(run: Run, bins: int = TABLE_BINS) -> list[Row]:
    """Two rows per layer, benign and attacked; changes and agreement stand in the attacked one.

    A reading agrees where it moves the way the published value does; one that stays where it is does not agree.
    Published values are None for models and layers that the study does not have, accuracies without true labels.

    Args:
        run: with at least one chunk.
        bins: of the histograms, over 0..1; the study's are 20.

    Raises:
        RunError: the run has no results yet.
    """
    attacked = study_condition(run)
    places = [0, run.conditions.index(attacked)]
    psi = run.psi[places]
    correct = (run.predictions[places] == run.labels) if run.config.labels == "true" else None
    peaks = find_peaks(psi, table_edges(bins), correct)
    images = np.count_nonzero(~np.isnan(psi), axis=-1)
    published = PUBLISHED.get(run.config.model.removeprefix("torchvision:"), {})
    rows: list[Row] = []
    for at_layer, layer in enumerate(run.layers):
        pair: list[Row] = [
            {
                "layer": layer,
                "condition": condition,
                "images": as_cell(images[at, at_layer]),
                "bins": bins,
                "peak_left": as_cell(peaks.left[at, at_layer]),
                "peak_right": as_cell(peaks.right[at, at_layer]),
                "published": published[layer][at] if layer in published else None,
                "height_percent": as_cell(peaks.percent[at, at_layer]),
                "accuracy_percent": as_cell(peaks.accuracy_percent[at, at_layer]),
                "location": as_cell(100 * peaks.center[at, at_layer]),
            }
            for at, condition in enumerate((BENIGN, attacked))
        ]
        pair[1] |= _changes(*pair)
        rows += [{column.name: row.get(column.name) for column in STUDY_COLUMNS} for row in pair]
    return rows


def _changes(benign: Row, attacked: Row) -> Row:
    """Attacked minus benign, published and in each reading, and whether they point the same way."""
    published = _difference(benign["published"], attacked["published"])
    cells: Row = {"published_change": published}
    for reading, column in READINGS.items():
        change = _difference(benign[column], attacked[column])
        cells[f"{reading}_change"] = change
        cells[f"agrees_{reading}"] = None if published is None or change is None else published * change > 0
    return cells


def _difference(benign: Cell, attacked: Cell) -> float | None:
    return attacked - benign if isinstance(benign, float) and isinstance(attacked, float) else None
