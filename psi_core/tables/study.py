"""The reproduced study: its two tables of peak values, and every reading of "peak value" measured beside them.

Lee & Kim 2023, "PSI Analysis of Adversarial-Attacked DCNN Models", Applied Sciences 13(17), 9722,
doi:10.3390/app13179722: AlexNet and VGG11 on the MNIST validation set, FGSM with epsilon 0.03, PSI at the ReLU outputs.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import BENIGN, Condition
from psi_core.measures import MEASURES, require_measure
from psi_core.presets import STUDY, STUDY_DOI, STUDY_TITLE
from psi_core.runs.run import Run
from psi_core.statistics.histograms import TABLE_BINS, find_peaks, measure_edges
from psi_core.tables.columns import CONDITION, LAYER, Cell, Column, Row, numbers
from psi_core.tables.summary import headline_condition
from psi_core.tables.table import Cells, View, label_notes

STUDY_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("images", "images", "count", "Images with a PSI; silent ones are left out."),
    Column("bins", "bins", "count", "Bins of the histogram over 0..1; other bins give other heights."),
    Column("peak_left", "peak left", "psi", "Left edge of the fullest bin; the lowest of equal ones."),
    Column("peak_right", "peak right", "psi", "Right edge of the fullest bin."),
    Column("published", "published", "percent", f"The peak value that the tables of {STUDY} give.", True),
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
    Column("location_right", "L right", "percent", "100 x the right edge of that bin, where the study draws its bars."),
    Column(
        "said",
        "text says",
        "text",
        f"What the text of {STUDY} says of the layer: where its peak lies, or its direction.",
    ),
    Column("agrees_said", "text agrees", "flag", "Whether the fullest bin touches that value, or the mean moves so."),
)

STUDY_ATTACK = Condition("fgsm", 0.03)
"""The attack of the study."""

STUDY_SOURCE = (f"published: {STUDY}, doi:{STUDY_DOI},", f'"{STUDY_TITLE}"')
"""Whose values they are, in lines of at most 71 characters."""


def study_note(bins: int = TABLE_BINS, measure: str = "psi") -> str:
    """What every reader of the study table must know, in lines of at most 71 characters."""
    shown = MEASURES[measure]
    return f"""\
peak value, in three readings of the fullest of {bins} bins over {"0..1" if shown.is_share else "its range"}:
H its share of images: concentration, not sparseness
A the accuracy of these images
L 100 x the {shown.heading} at its middle"""


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


CLAIMS: dict[str, dict[str, str | tuple[float, float]]] = {
    "alexnet": {"conv1": "sparser", "conv4": (0.65, 0.65)},
    "vgg11": {"conv1": "sparser", "conv8": (0.05, 0.05), "fc2": (0.15, 0.10)},
}
"""What the study's text says by model and layer: that it gets sparser under attack, or the PSI of the benign and of the
attacked peak."""


def study_condition(run: Run) -> str:
    """The condition that stands beside the study's attack: FGSM at 0.03, or else the run's headline condition."""
    return STUDY_ATTACK.name if STUDY_ATTACK.name in run.conditions else headline_condition(run)


def study_rows(run: Run, view: View) -> Iterator[Cells]:
    """Two rows per layer, benign and attacked; changes and agreement stand in the attacked one.

    Where nothing was done to the images there is but the benign one.

    A reading agrees where it moves the way the published value does; one that stays where it is does not agree.
    Published values are None for models and layers that the study does not have, accuracies without true labels.
    """
    attacked = study_condition(run)
    places = [0, run.conditions.index(attacked)]
    require_measure(view.measure, run.measures, run.name)
    values = run.array(view.measure)[places]
    correct = (run.predictions[places] == run.labels) if run.config.labels == "true" else None
    edges = [measure_edges(own, view.measure, view.bins) for own in np.split(values, values.shape[1], 1)]
    return reading_rows(network_of(run), run.layers, attacked, values, correct, edges)


def reading_rows(
    network: str,
    layers: Sequence[str],
    attacked: str,
    values: NDArray[np.floating],
    correct: NDArray[np.bool_] | None,
    edges: Sequence[NDArray[np.float64]],
) -> Iterator[Cells]:
    """The rows of `study_rows` of any values.

    Args:
        network: whose published values stand beside them, such as `alexnet`; none do for another name.
        layers: their names.
        attacked: name of the condition beside benign.
        values: benign and under that condition, (2, layer, image); NaN where there is none.
        correct: whether the network was right, (2, image); None without true labels.
        edges: edges of each layer's bins.
    """
    peaks = [
        find_peaks(own, each, correct) for own, each in zip(np.split(values, values.shape[1], 1), edges, strict=True)
    ]
    is_there = ~np.isnan(values).any(0)
    shifts = np.where(is_there, values[1].astype(np.float64) - values[0], 0).sum(-1)
    means = np.divide(shifts, is_there.sum(-1), out=np.full(len(shifts), np.nan), where=is_there.any(-1))
    images = np.count_nonzero(~np.isnan(values), axis=-1)
    published = PUBLISHED.get(network, {})
    for at_layer, layer in enumerate(layers):
        pair: list[Cells] = [
            (
                published[layer][at] if layer in published else None,
                *numbers(
                    peaks[at_layer].percent[at, 0],
                    peaks[at_layer].accuracy_percent[at, 0],
                    100 * peaks[at_layer].center[at, 0],
                ),
            )
            for at in range(2)
        ]
        changes = [_difference(*values) for values in zip(*pair, strict=True)]
        agreements = [_agreement(changes[0], change) for change in changes[1:]]
        claim = CLAIMS.get(network, {}).get(layer)
        for at, condition in enumerate(dict.fromkeys((BENIGN, attacked))):
            peak = peaks[at_layer].left[at, 0], peaks[at_layer].right[at, 0]
            yield (
                layer,
                condition,
                *numbers(images[at, at_layer]),
                len(edges[at_layer]) - 1,
                *numbers(*peak),
                *pair[at],
                *((*changes, *agreements) if at else [None] * 7),
                *numbers(100 * peak[1]),
                *_said(claim, at, means[at_layer], peak),
            )


def study_notes(run: Run, view: View) -> list[str]:
    """Whose values these are, the readings, how often each moves the published way, and whose the labels are."""
    names = [column.name for column in STUDY_COLUMNS]
    rows = [dict(zip(names, cells, strict=True)) for cells in study_rows(run, view)]
    moved, claims = moves_note(rows), claims_note(rows)
    return [
        *STUDY_SOURCE,
        *study_note(view.bins, view.measure).splitlines(),
        *([moved] if moved else []),
        *(["what its text says of layers, and whether it holds here:", claims] if claims else []),
        *(other_readings(run) if is_read_as_ratio(run, view) else []),
        *label_notes(run),
    ]


COUNT = "active_fraction"
"""The measure of the equation's other reading: its text counts the active units, its formula is the ratio."""


def is_read_as_ratio(run: Run, view: View) -> bool:
    """Whether the rows read the study's equation as PSI, and the run could show the other reading too."""
    return view.measure == "psi" and COUNT in run.measures and network_of(run) in PUBLISHED


def other_readings(run: Run) -> list[str]:
    """How the study's equation can be read otherwise, and what shows that."""
    return [
        f"its equation read as a count of active units: --measure {COUNT}",
        f"read by Liu's preset, image by image: psi-tui liu {run.id}",
    ]


def moves_note(rows: Sequence[Row]) -> str:
    """How often each reading moves the published way, and what chance gives; empty where nothing is published."""
    attacked = [row for row in rows if row["condition"] != BENIGN]
    readings = {"H": "agrees_height", "A": "agrees_accuracy", "L": "agrees_location"}
    counts = []
    for letter, column in readings.items():
        known = [row[column] for row in attacked if row[column] is not None]
        if known:
            counts.append(f"{letter} in {sum(map(bool, known))} of {len(known)}")
    layers = sum(row["published"] is not None for row in attacked)
    return f"moves the published way: {', '.join(counts)}; {layers / 2:g} by chance" if counts else ""


def claims_note(
    rows: Sequence[Row], words: Mapping[bool, str] = MappingProxyType({True: "(yes)", False: "(no)"})
) -> str:
    """What the study's text says of layers and whether that holds, in one line; empty where it says nothing.

    Args:
        rows: of the study table.
        words: for what holds, and for what does not.
    """
    told = [row for row in rows if row["said"] is not None]
    texts = []
    for layer in dict.fromkeys(row["layer"] for row in told):
        own = [row for row in told if row["layer"] == layer]
        said = " → ".join(dict.fromkeys(str(row["said"]) for row in own))
        held = " → ".join(dict.fromkeys(words[bool(row["agrees_said"])] for row in own))
        texts.append(f"{layer} {said} {held}")
    return ", ".join(texts)


def _said(
    claim: str | tuple[float, float] | None, at: int, change: float, peak: tuple[float, float]
) -> tuple[str | None, bool | None]:
    """What the study's text says of a layer in one condition, and whether it holds here."""
    if claim is None:
        return None, None
    if isinstance(claim, str):
        return (claim, bool(change > 0)) if at else (None, None)
    return f"{claim[at]:.2f}", bool(peak[0] - _EDGE <= claim[at] <= peak[1] + _EDGE)


_EDGE = 1e-9
"""By how much rounding may move the edge of a bin."""


def network_of(run: Run) -> str:
    """The network by the name that PUBLISHED and CLAIMS have it under, if they do."""
    return run.config.model.removeprefix("torchvision:")


def _difference(benign: Cell, attacked: Cell) -> float | None:
    return attacked - benign if isinstance(benign, float) and isinstance(attacked, float) else None


def _agreement(published: float | None, measured: float | None) -> bool | None:
    """Whether two changes point the same way."""
    return None if published is None or measured is None else published * measured > 0
