"""What must be told beside a table, wherever it is shown: what its numbers are not, and which run they are of."""

from pathlib import Path

from psi_core.measures import MEASURES
from psi_core.runs.run import Run
from psi_core.statistics.detectors import FLAGGED_PERCENT
from psi_core.statistics.histograms import TABLE_BINS
from psi_core.statistics.paired import SUBSETS
from psi_core.tables.study import study_note

OWN_LABELS = "labels are the network's benign predictions: no accuracy; fooled = class changed"
"""Against them the benign accuracy is 100 % by definition, and the attacked one 100 % minus the share fooled."""

_OF_LABELS = ("layers", "classes", "images", "conditions", "study", "correlation", "evidence")
"""Tables that speak of labels or accuracy."""

_LIFETIME = "lifetime sparseness: the formula of PSI for one channel, by its spatial mean, over all images"

_NOTES: dict[str, str] = {
    "classes": "PSI Liu takes each channel's mean and sd from benign; channels nearly dead there (in real networks "
    "with an sd 1e-7 of the median one) dominate it in every other condition, and PSI Liu live too: trust a change "
    "that PSI Liu separate shows as well",
    "detectors": "fitted on a seeded half of the images, measured on the other; the threshold, frozen on the first, "
    f"flags {FLAGGED_PERCENT} % of its attacked images; against benign any perturbation is detected, noise too: read "
    "the rows against the control",
    "correlation": "with 10 classes, |r| below 0.63 is not significant; p is not corrected over layers, so that one in "
    "20 is below 0.05 by chance",
    "channels": _LIFETIME,
    "lifetime": _LIFETIME,
}
"""What a table's numbers are, and are not."""

_OF_SQUARES = ("channels", "lifetime")
"""Tables that need sums of squares, which older runs lack."""


def table_notes(
    run: Run, table: str, *, subset: str = "all", bins: int = TABLE_BINS, measure: str = "psi"
) -> list[str]:
    """Sentences that belong under a table; often none.

    Args:
        run: whose table it is.
        table: one of `tables.TABLES`.
        subset: of the images, one of `statistics.SUBSETS`.
        bins: of its histograms.
        measure: that it speaks of.
    """
    notes = [_NOTES[table]] if table in _NOTES else []
    described = MEASURES[measure]
    if measure != "psi":
        notes.append(f"{described.heading}: {described.help.rstrip('.')}")
    if table == "layers":
        place = "" if described.is_share else " over the layer's range"
        fullest = f"peak: the fullest of {bins} bins{place}"
        notes.append(f"{fullest}; peak % is its share of images: concentration, not sparseness")
    if table == "study":
        notes += study_note(bins).splitlines()
    if table in _OF_SQUARES and run.has_sums and run.square_sums(run.layers[0]) is None:
        notes.append("no lifetime sparseness: an older version made this run, without sums of squares; run it again")
    if table in _OF_LABELS and run.config.labels == "predicted":
        notes.append(OWN_LABELS)
    if subset != "all":
        notes.append(f"subset {subset}: {SUBSETS[subset]}")
    return notes


def run_line(run: Run) -> str:
    """Model, weights, data and images of a run in one line, for a caption."""
    config = run.config
    done = len(run.index)
    images = f"{done:,} images" if done == run.images else f"{done:,} of {run.images:,} images"
    weights = Path(config.weights).name
    external = f"; attacked: {config.attacked}" if config.attacked else ""
    return f"{config.model} ({weights} weights) on {config.data} {config.split}, {config.size} px, {images}{external}"
