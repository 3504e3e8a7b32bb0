"""The detectors table: how well PSI tells attacked images from benign ones, and from the control's."""

import numpy as np

from psi_core.runs.run import Run
from psi_core.statistics.detectors import Detection, detect_by_all_layers, detect_by_layer, split_halves
from psi_core.tables.columns import CONDITION, LAYER, Column, Row, as_cell

ALL_LAYERS = "all"
"""What stands in place of a layer's name where all layers together are the detector."""

DETECTOR_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("reference", "against", "text", "What the condition is told from: benign, or its control.", True),
    Column("images", "images", "count", "Held-out images, each counted in both versions.", True),
    Column("auroc", "AUROC", "number", "P(the condition's image scores higher), ties half; 0.5 tells nothing.", True),
    Column("auroc_ci_low", "CI low", "number", "Lower end of its 95 % interval, Hanley & McNeil.", True),
    Column("auroc_ci_high", "CI high", "number", "Upper end of its 95 % interval, Hanley & McNeil.", True),
    Column("tpr_percent", "TPR %", "percent", "Held-out images of the condition that are flagged.", True),
    Column("tnr_percent", "TNR %", "percent", "Held-out images of the reference that are not flagged.", True),
)


def detector_rows(run: Run) -> list[Row]:
    """One row per layer, and one for all layers together, for each condition and what it is told from.

    Every condition but benign is told from benign, and from its control where the run has it.

    Raises:
        RunError: the run has no results yet.
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
    return [
        {
            "layer": layer,
            "condition": condition,
            "reference": reference,
            "images": detections[number].images,
            "auroc": as_cell(detections[number].auroc),
            "auroc_ci_low": as_cell(detections[number].auroc_ci_low),
            "auroc_ci_high": as_cell(detections[number].auroc_ci_high),
            "tpr_percent": as_cell(detections[number].tpr_percent),
            "tnr_percent": as_cell(detections[number].tnr_percent),
        }
        for number, layer in enumerate([*run.layers, ALL_LAYERS])
        for (condition, reference), detections in found.items()
    ]
