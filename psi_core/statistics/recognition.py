"""Success of an attack: what each condition of a run did to the recognition, in percent of the images."""

import contextlib

import numpy as np
from numpy.typing import NDArray

from psi_core.errors import RunError
from psi_core.runs.run import Run
from psi_core.statistics.paired import percent


def fooled_percent(run: Run) -> NDArray[np.float64]:
    """Of the images right before, the share now wrong, by condition; 0 for benign, NaN where none was right.

    Where the labels are the network's own predictions, the share whose prediction changed.
    """
    correct = run.predictions == run.labels
    return percent(np.count_nonzero(correct[0] & ~correct, axis=-1), np.count_nonzero(correct[0]))


def targets_of(run: Run) -> NDArray[np.int64] | None:
    """The class that each image is to be taken for, (image,); None where attacks had no target."""
    with contextlib.suppress(RunError):  # Not every chunk holds them.
        return run.array("target") if run.config.target != "none" else None
    return None


def reached_percent(run: Run) -> NDArray[np.float64] | None:
    """Share of images taken for their target, by condition; None where attacks had no target."""
    targets = targets_of(run)
    if targets is None:
        return None
    return percent(np.count_nonzero(run.predictions == targets, axis=-1), len(targets))


def unmoved_percent(run: Run) -> NDArray[np.float64]:
    """Share of images left exactly where they were, by condition."""
    unmoved = run.array("linf") == 0
    return percent(np.count_nonzero(unmoved, axis=-1), unmoved.shape[-1])
