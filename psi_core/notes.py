"""What must be told beside a table, wherever it is shown: what its numbers are not, and which run they are of."""

from pathlib import Path

from psi_core.histograms import TABLE_BINS
from psi_core.runs import Run
from psi_core.statistics import SUBSETS
from psi_core.study import study_note

OWN_LABELS = "labels are the network's benign predictions: no accuracy; fooled = class changed"
"""Against them the benign accuracy is 100 % by definition, and the attacked one 100 % minus the share fooled."""

_OF_LABELS = ("layers", "classes", "images", "conditions", "study")
"""Tables that speak of labels or accuracy."""


def table_notes(run: Run, table: str, *, subset: str = "all", bins: int = TABLE_BINS) -> list[str]:
    """Sentences that belong under a table; often none.

    Args:
        run: whose table it is.
        table: one of `tables.TABLES`.
        subset: of the images, one of `statistics.SUBSETS`.
        bins: of its histograms, over 0..1.
    """
    notes = []
    if table == "layers":
        notes.append(f"peak: the fullest of {bins} bins; peak % is its share of images: concentration, not sparseness")
    if table == "study":
        notes += study_note(bins).splitlines()
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
    given = f"; attacked: {config.attacked}" if config.attacked else ""
    return f"{config.model} ({weights} weights) on {config.data} {config.split}, {config.size} px, {images}{given}"
