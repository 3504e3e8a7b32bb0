"""What speaks for a run's numbers or against them: its checks, and PSI as a detector of attacked images."""

from collections.abc import Iterator

import numpy as np

from psi_core.evidence import checks_of
from psi_core.runs.run import Run
from psi_core.statistics.detectors import (
    FLAGGED_PERCENT,
    Detection,
    detect_by_all_layers,
    detect_by_layer,
    split_halves,
)
from psi_core.tables.columns import CONDITION, LAYER, Column, as_cell, numbers
from psi_core.tables.table import Cells, View

EVIDENCE_COLUMNS: tuple[Column, ...] = (
    Column("check", "check", "text", "What was looked at.", True),
    Column("status", "status", "status", "green, amber, red, or none where the run does not allow the check.", True),
    Column("value", "value", "number", "The number behind the status."),
    Column("unit", "unit", "text", "Unit of that number."),
    Column("sentence", "what was found", "sentence", "What was found, or how to have it checked.", True),
)


def evidence_rows(run: Run, _view: View) -> Iterator[Cells]:
    """One row per check of `psi_core.evidence`, in its order."""
    for check in checks_of(run):
        value = None if check.value is None else as_cell(check.value)
        yield check.name, check.status, value, check.unit or None, check.sentence


ALL_LAYERS = "all"
"""What stands in place of a layer's name where all layers together are the detector."""

DETECTOR_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("reference", "against", "text", "What the condition is told from: benign, or its control.", True),
    Column("images", "images", "count", "Held-out images, each counted in both versions.", True),
    Column("auroc", "AUROC", "number", "P(the condition's image scores higher), ties half; 0.5 tells nothing.", True),
    Column("auroc_ci_low", "CI low", "number", "Lower end of its 95 % interval, by image (DeLong).", True),
    Column("auroc_ci_high", "CI high", "number", "Upper end of its 95 % interval, by image (DeLong).", True),
    Column(
        "tpr_percent", "TPR %", "percent", "Held-out images of the condition that are flagged.", True, "realized TPR %"
    ),
    Column(
        "tnr_percent",
        "TNR %",
        "percent",
        "Held-out images of the reference that are not flagged.",
        True,
        f"TNR % at {FLAGGED_PERCENT} % TPR",
    ),
)


def detector_rows(run: Run, _view: View) -> Iterator[Cells]:
    """One row per layer, and one for all layers together, for each condition and what it is compared with.

    Every condition but benign is compared with benign, and with its control where the run has it.
    """
    psi = run.psi.astype(np.float64)
    fit_half = split_halves(psi.shape[-1], run.config.seed)
    names = run.conditions
    found: dict[tuple[str, str], list[Detection]] = {}
    for at, condition in enumerate(run.condition_details):
        for reference in () if condition.is_benign else (names[0], condition.control):
            if reference in names:
                versions = psi[at], psi[names.index(reference)]
                layers = detect_by_layer(*versions, fit_half)
                found[names[at], reference] = [*layers, detect_by_all_layers(*versions, fit_half)]
    for number, layer in enumerate([*run.layers, ALL_LAYERS]):
        for (condition_name, reference), detections in found.items():
            one = detections[number]
            yield (
                layer,
                condition_name,
                reference,
                one.images,
                *numbers(one.auroc, one.auroc_ci_low, one.auroc_ci_high, one.tpr_percent, one.tnr_percent),
            )


def detector_notes(_run: Run, _view: View) -> list[str]:
    """On which images the detectors are fitted and measured, and what a detection means."""
    return [
        "fitted on a seeded half of the images, measured on the other; the threshold, frozen on the first, flags "
        f"{FLAGGED_PERCENT} % of its attacked images; against benign any perturbation is detected, noise too: read the "
        "rows against the control"
    ]
