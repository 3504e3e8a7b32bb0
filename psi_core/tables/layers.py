"""The layers table: PSI, or another measure, of every layer in every condition, against benign and the control."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import Condition
from psi_core.measures import MEASURES, require_measure
from psi_core.runs.run import Run
from psi_core.statistics.histograms import TABLE_BINS, bin_counts, find_peaks, measure_edges, overlap
from psi_core.statistics.paired import Shift, auroc, ks_distance, paired_statistics, percent, subset_mask, summarize
from psi_core.statistics.verdicts import verdict
from psi_core.tables.columns import ACCURACY, ATTACK, CONDITION, EPSILON, LAYER, Column, Row, as_cell, delta_columns


def layer_columns(measure: str = "psi") -> tuple[Column, ...]:
    """Columns of the table of one measure; its mean, spread and quartiles bear its name."""
    called, told = MEASURES[measure].heading, MEASURES[measure].help
    active = () if measure == _ACTIVE else (Column(f"{_ACTIVE}_mean", "active", "psi", _ACTIVE_HELP),)
    return (
        LAYER,
        Column("module", "module", "text", "Path of the module inside the network."),
        Column("units", "units", "count", "How many responses the index sees per image."),
        CONDITION,
        ATTACK,
        EPSILON,
        Column("subset", "subset", "text", "Which images count: all, correct, fooled or resisted."),
        Column("images", "images", "count", "Images of the subset, silent ones too."),
        Column("silent", "silent", "count", f"Images that have no {called}, for no unit of the layer responds."),
        Column(f"{measure}_mean", called, "psi", f"Mean over images. {told}", True),
        Column(f"{measure}_sd", "sd", "psi", f"Standard deviation of {called} over images, ddof 1.", True),
        Column(f"{measure}_median", "median", "psi", f"Median {called}."),
        Column(f"{measure}_q25", "q25", "psi", f"First quartile of {called}."),
        Column(f"{measure}_q75", "q75", "psi", f"Third quartile of {called}."),
        Column("peak_left", "peak left", "psi", "Left edge of the fullest histogram bin; the lowest of equal ones."),
        Column("peak_center", "peak", "psi", "Middle of the fullest histogram bin.", True),
        Column("peak_right", "peak right", "psi", "Right edge of the fullest histogram bin."),
        Column(
            "peak_percent",
            "peak %",
            "percent",
            "Non-silent images in that bin: shows concentration, not sparseness.",
            True,
        ),
        Column("peak_accuracy_percent", "peak accuracy %", "percent", "Accuracy of the images in that bin."),
        ACCURACY,
        *active,
        *delta_columns("", "benign", True),
        Column("delta_median", "d median", "shift", "Median difference from benign, by image."),
        Column("effect_size", "d_z", "number", "Cohen's d_z against benign: mean difference / its sd.", True),
        Column("p_value", "p", "p", "Wilcoxon signed-rank test against benign."),
        Column("p_holm", "p Holm", "p", "The same p, Holm's correction over the layers of the condition.", True),
        Column("percent_lower", "lower %", "percent", f"Share of images whose {called} falls."),
        Column("ks", "KS", "number", "Kolmogorov-Smirnov distance of the two distributions."),
        Column("overlap", "overlap", "number", "Share that the two histograms have in common, 0..1."),
        Column(
            "auroc", "AUROC", "number", f"P(attacked {called} > benign {called}), ties half; 0.5 tells nothing.", True
        ),
        Column("auroc_ci_low", "AUROC low", "number", "Lower end of its 95 % interval, Hanley & McNeil."),
        Column("auroc_ci_high", "AUROC high", "number", "Upper end of its 95 % interval, Hanley & McNeil."),
        Column("control", "control", "text", "The control that the next columns compare with.", True),
        *delta_columns("_control", "control", True),
        Column("effect_size_control", "d_z control", "number", "Cohen's d_z against the control."),
        Column("p_control_holm", "p Holm control", "p", "Wilcoxon p against the control, Holm over layers."),
        Column("auroc_control", "AUROC control", "number", f"P(attacked {called} > control {called}), ties half."),
        Column("verdict", "verdict", "text", "What the numbers say, in words."),
    )


_ACTIVE = "active_fraction"
"""The measure whose mean stands in every layers table, once."""

_ACTIVE_HELP = "Mean share of units that respond at all."

LAYER_COLUMNS = layer_columns()


def layer_rows(run: Run, subset: str = "all", bins: int = TABLE_BINS, measure: str = "psi") -> list[Row]:
    """One row per layer and condition.

    Differences are paired by image. KS distance, overlap and AUROC compare the two distributions over the images of
    the condition's subset, each without its own silent images. All of these are None for benign; the accuracies are
    None where the labels are the network's own predictions.

    Args:
        run: with at least one chunk.
        subset: one of `statistics.SUBSETS`, taken for each condition.
        bins: of the histograms, as `measure_edges` lays them; they change the peak's height and the overlap.
        measure: that all columns speak of.

    Raises:
        RunError: the run has no results yet.
        ConfigError: there is no such subset, or the run has no such measure.
    """
    require_measure(measure, run.measures, run.name)
    values = run.array(measure).astype(np.float64)
    kept = subset_mask(subset, run.predictions == run.labels)
    selected = np.where(kept[:, None, :], values, np.nan)
    names, details = run.conditions, run.condition_details
    controls = [names.index(condition.control) if condition.control in names else None for condition in details]
    benign = [None if condition.is_benign else 0 for condition in details]
    # Stacked, so that one set of bootstrap weights serves both references.
    differences = np.concatenate([_differences(selected, values, benign), _differences(selected, values, controls)])
    statistics = paired_statistics(differences)
    edges = [measure_edges(values[:, at_layer], measure, bins) for at_layer in range(len(run.layers))]
    measured = _measured_cells(run, measure, selected, kept, edges)
    columns = layer_columns(measure)

    rows: list[Row] = []
    for at_layer, layer in enumerate(run.layer_infos):
        for at, condition in enumerate(details):
            described: Row = {
                "layer": layer.name,
                "module": layer.module,
                "units": layer.units,
                "condition": names[at],
                "attack": condition.attack,
                "epsilon": as_cell(condition.epsilon),
                "subset": subset,
            }
            control = controls[at]
            named = None if control is None else names[control]
            own, references = selected[at, at_layer], values[:, at_layer, kept[at]]
            shift = statistics.at(at, at_layer)
            shift_from_control = statistics.at(len(details) + at, at_layer)
            rows.append(
                described
                | measured[at][at_layer]
                | _benign_cells(shift, own, None if condition.is_benign else references[0], edges[at_layer])
                | _control_cells(shift_from_control, own, None if control is None else references[control])
                | {
                    "control": named,
                    "verdict": _verdict(condition, shift, shift_from_control, named, MEASURES[measure].moves),
                }
            )
    return [{column.name: row[column.name] for column in columns} for row in rows]


def _verdict(
    condition: Condition, shift: Shift, shift_from_control: Shift, control: str | None, moves: tuple[str, str]
) -> str | None:
    if condition.is_benign:
        return None
    itself = condition.name if condition.is_control else None
    said = verdict(shift, shift_from_control, control, itself=itself, moves=moves)
    is_alone = condition.is_external and control is None and said.endswith("effect")
    return f"{said}; no control of its size was measured" if is_alone else said


def _differences(
    selected: NDArray[np.float64], values: NDArray[np.float64], references: Sequence[int | None]
) -> NDArray[np.float64]:
    """Each condition minus its reference, NaN where it has none."""
    differences = np.full_like(selected, np.nan)
    for place, reference in enumerate(references):
        if reference is not None:
            differences[place] = selected[place] - values[reference]
    return differences


def _measured_cells(
    run: Run,
    measure: str,
    selected: NDArray[np.float64],
    kept: NDArray[np.bool_],
    edges: Sequence[NDArray[np.float64]],
) -> list[list[Row]]:
    """What each condition and layer shows by itself, from `images` to `active_fraction_mean`."""
    correct = (run.predictions == run.labels) if run.config.labels == "true" else None
    images = np.count_nonzero(kept, axis=-1)
    accuracy = np.full(images.shape, np.nan) if correct is None else percent((kept & correct).sum(axis=-1), images)
    summary = summarize(selected)
    peaks = [find_peaks(selected[:, [at_layer]], own, correct) for at_layer, own in enumerate(edges)]
    active = np.full(summary.mean.shape, np.nan)
    if _ACTIVE in run.measures:
        active = summarize(np.where(kept[:, None, :], run.array(_ACTIVE), np.nan)).mean

    def cells(at: int, at_layer: int) -> Row:
        place, peak = (at, at_layer), peaks[at_layer]
        return {
            "images": as_cell(images[at]),
            "silent": as_cell(images[at] - summary.images[place]),
            f"{_ACTIVE}_mean": as_cell(active[place]),
            f"{measure}_mean": as_cell(summary.mean[place]),
            f"{measure}_sd": as_cell(summary.sd[place]),
            f"{measure}_median": as_cell(summary.median[place]),
            f"{measure}_q25": as_cell(summary.q25[place]),
            f"{measure}_q75": as_cell(summary.q75[place]),
            "peak_left": as_cell(peak.left[at, 0]),
            "peak_center": as_cell(peak.center[at, 0]),
            "peak_right": as_cell(peak.right[at, 0]),
            "peak_percent": as_cell(peak.percent[at, 0]),
            "peak_accuracy_percent": as_cell(peak.accuracy_percent[at, 0]),
            "accuracy_percent": as_cell(accuracy[at]),
        }

    return [[cells(at, at_layer) for at_layer in range(selected.shape[1])] for at in range(selected.shape[0])]


def _benign_cells(
    shift: Shift, values: NDArray[np.float64], benign: NDArray[np.float64] | None, edges: NDArray[np.float64]
) -> Row:
    """Differences from benign, by image and as distributions, from `delta_mean` to `auroc_ci_high`."""
    row: Row = {
        **shift_cells(shift),
        "delta_median": as_cell(shift.median),
        "effect_size": as_cell(shift.effect_size),
        "p_value": as_cell(shift.p),
        "p_holm": as_cell(shift.p_holm),
        "percent_lower": as_cell(shift.percent_lower),
    }
    if benign is None:
        return row | dict.fromkeys(("ks", "overlap", "auroc", "auroc_ci_low", "auroc_ci_high"))
    area, low, high = auroc(values, benign)
    return row | {
        "ks": as_cell(ks_distance(values, benign)),
        "overlap": as_cell(overlap(bin_counts(values, edges), bin_counts(benign, edges))),
        "auroc": as_cell(area),
        "auroc_ci_low": as_cell(low),
        "auroc_ci_high": as_cell(high),
    }


def _control_cells(shift: Shift, values: NDArray[np.float64], control: NDArray[np.float64] | None) -> Row:
    """Differences from the control, from `delta_control_mean` to `auroc_control`."""
    return {
        **shift_cells(shift, "_control"),
        "effect_size_control": as_cell(shift.effect_size),
        "p_control_holm": as_cell(shift.p_holm),
        "auroc_control": None if control is None else as_cell(auroc(values, control)[0]),
    }


def shift_cells(shift: Shift, suffix: str = "") -> Row:
    """Mean difference and its interval, as the tables name them."""
    return {
        f"delta{suffix}_mean": as_cell(shift.mean),
        f"delta{suffix}_ci_low": as_cell(shift.ci_low),
        f"delta{suffix}_ci_high": as_cell(shift.ci_high),
    }
