"""What is measured of every layer in every condition: the layers, the measures and the histogram table."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import Condition, noises_of
from psi_core.measures import MEASURES, require_measure
from psi_core.runs.run import Run
from psi_core.statistics.contrasts import BEYOND_WORDS, SIZE_WORDS, Decision, classes_moved, rank_biserial
from psi_core.statistics.findings import findings
from psi_core.statistics.histograms import bin_counts, find_peaks, measure_edges, overlap
from psi_core.statistics.paired import Shift, auroc, ks_distance, paired_statistics, percent, subset_mask, summarize
from psi_core.statistics.verdicts import verdict
from psi_core.tables.columns import (
    ACCURACY,
    ATTACK,
    CONDITION,
    EPSILON,
    LAYER,
    Column,
    as_cell,
    delta_columns,
    numbers,
)
from psi_core.tables.table import Cells, View, label_notes

_CONSISTENCY = Column(
    "effect_size", "d_z", "number", "Consistency against benign: mean difference / its sd (d_z); no effect size.", True
)
_CONSISTENCY_CONTROL = Column(
    "effect_size_control", "d_z control", "number", "Consistency against the control, likewise."
)


def layer_columns(measure: str = "psi") -> tuple[Column, ...]:
    """Columns of the layers table of one measure; its mean, spread and quartiles bear its name."""
    called, told = MEASURES[measure].heading, MEASURES[measure].help
    active = () if measure == _ACTIVE else (Column(f"{_ACTIVE}_mean", "active", "psi", _ACTIVE_HELP),)
    return (
        LAYER,
        Column("module", "module", "text", "Path of the module inside the network."),
        Column("units", "units", "count", "How many responses the index sees per image."),
        CONDITION,
        ATTACK,
        EPSILON,
        Column("subset", "subset", "text", "Which images count: all, correct, fooled or kept."),
        Column("images", "images", "count", "Images of the subset, silent ones too."),
        Column("silent", "silent", "count", f"Images that have no {called}, for no unit of the layer responds."),
        Column(f"{measure}_mean", called, "psi", f"Mean over images. {told}", True),
        Column(f"{measure}_sd", "sd", "psi", f"Standard deviation of {called} over images, ddof 1.", True),
        Column(f"{measure}_median", "median", "psi", f"Median {called}."),
        Column(f"{measure}_q25", "q25", "psi", f"First quartile of {called}."),
        Column(f"{measure}_q75", "q75", "psi", f"Third quartile of {called}."),
        Column("peak_left", "peak left", "psi", "Left edge of the fullest histogram bin; the lowest of equal ones."),
        Column("peak_center", "peak", "peak", "Middle of the fullest histogram bin.", True),
        Column("peak_right", "peak right", "psi", "Right edge of the fullest histogram bin."),
        Column(
            "peak_percent",
            "peak %",
            "percent",
            "Non-silent images in that bin: shows concentration, not sparseness.",
            True,
        ),
        Column(
            "peak_accuracy_percent",
            "peak accuracy %",
            "percent",
            "Accuracy of the images in that bin.",
            on_screen="acc %",
        ),
        ACCURACY,
        *active,
        *delta_columns("", "benign", True),
        Column("delta_median", "d median", "shift", "Median difference from benign, by image."),
        _CONSISTENCY,
        Column("p_value", "p", "p", "Wilcoxon signed-rank test against benign."),
        Column("p_holm", "p Holm", "p", "The same p, by Holm over all layers and attacks of the run.", True),
        Column("percent_lower", "lower %", "percent", f"Share of images whose {called} falls."),
        Column("ks", "KS", "number", "Kolmogorov-Smirnov distance of the two distributions."),
        Column("overlap", "overlap", "number", "Share that the two histograms have in common, 0..1."),
        Column(
            "auroc", "AUROC", "number", f"P(attacked {called} > benign {called}), ties half; 0.5 tells nothing.", True
        ),
        Column("auroc_ci_low", "AUROC low", "number", "Lower end of its 95 % interval, by image (DeLong)."),
        Column("auroc_ci_high", "AUROC high", "number", "Upper end of its 95 % interval, by image (DeLong)."),
        Column("control", "control", "text", "The control that the next columns compare with.", True),
        *delta_columns("_control", "control", True),
        _CONSISTENCY_CONTROL,
        Column("p_control_holm", "p Holm control", "p", "Wilcoxon p against the control, Holm likewise."),
        Column("auroc_control", "AUROC control", "number", f"P(attacked {called} > control {called}), ties half."),
        Column("verdict", "verdict", "text", "What the numbers say, in words."),
        *_BEYOND_COLUMNS,
    )


_BEYOND_COLUMNS: tuple[Column, ...] = (
    Column(
        "delta_sd",
        "beyond noise, sd",
        "sd",
        f"Mean {BEYOND_WORDS} between images, by image: {SIZE_WORDS}.",
        True,
        "beyond, sd",
    ),
    Column("delta_sd_ci_low", "sd low", "sd", "Lower end of its 95 % interval, of images or blocks of 50."),
    Column("delta_sd_ci_high", "sd high", "sd", "Upper end of its 95 % interval."),
    Column("noise", "noise", "text", "The deciding noise: of those of its size, the one it differs from least."),
    Column(
        "equivalent",
        "equivalent",
        "count",
        "1 where the 90 % interval lies within 0.1 benign sd of every noise (two one-sided tests), else 0.",
    ),
    Column(
        "rank_biserial",
        "rank-biserial",
        "number",
        "Consistency: matched-pairs rank-biserial correlation against the deciding noise, -1..1.",
    ),
    Column(
        "percent_same_way",
        "same way %",
        "percent",
        "Consistency: of the images that differ from the deciding noise, the share that does so the way of the mean.",
    ),
    Column(
        "classes_up",
        "classes up",
        "count",
        "Classes whose own mean lies above the deciding noise, told from it at 5 %; empty where labels are the "
        "network's own predictions.",
    ),
    Column("classes_down", "classes down", "count", "Classes whose own mean lies below it, likewise."),
    Column("silent_change", "d silent", "count", "Images silent under the condition minus those silent when benign."),
    Column(
        "p_noise_holm",
        "p Holm noise",
        "p",
        "What the verdict goes by: the largest p, by t test, of no shift from a noise of its size, by Holm likewise.",
        True,
        "p noise",
    ),
)


_ACTIVE = "active_fraction"
"""The measure whose mean stands in every layers table, once."""

_ACTIVE_HELP = "Mean share of units that respond at all."


def layer_rows(run: Run, view: View) -> Iterator[Cells]:
    """One row per layer and condition, described by one measure.

    Differences are paired by image. KS distance, overlap and AUROC compare the two distributions over the images of
    the condition's subset, each without its own silent images. All of these are None for benign; the accuracies are
    None where the labels are the network's own predictions. The subset is taken for each condition; the bins change
    the peak's height and the overlap.

    Raises:
        ConfigError: there is no such subset, or the run has no such measure.
    """
    measure = view.measure
    require_measure(measure, run.measures, run.name)
    values = run.array(measure).astype(np.float64)
    kept = subset_mask(view.subset, run.predictions == run.labels)
    selected = np.where(kept[:, None, :], values, np.nan)
    names, details = run.conditions, run.condition_details
    controls = [names.index(condition.control) if condition.control in names else None for condition in details]
    benign = [None if condition.is_benign else 0 for condition in details]
    families = ["controls" if condition.is_control else "attacks" for condition in details]
    against_benign = paired_statistics(_differences(selected, values, benign), families)
    against_control = paired_statistics(_differences(selected, values, controls), families)
    edges = [measure_edges(values[:, at_layer], measure, view.bins) for at_layer in range(len(run.layers))]
    described = _described(run, measure, selected, kept, edges)
    decided = findings(run, measure, view.subset)
    labels = run.labels if run.config.labels == "true" else None
    for at_layer, layer in enumerate(run.layer_infos):
        for at, condition in enumerate(details):
            control, decisions = controls[at], decided[at]
            decision = None if decisions is None else decisions[at_layer]
            control_name = None if control is None else names[control]
            own, references = selected[at, at_layer], np.where(kept[at], values[:, at_layer], np.nan)
            shift = against_benign.at(at, at_layer)
            shift_from_control = against_control.at(at, at_layer)
            yield (
                *(layer.name, layer.module, layer.units),
                *(names[at], condition.attack, as_cell(condition.epsilon), view.subset),
                *described[at][at_layer],
                *_against_benign(shift, own, None if condition.is_benign else references[0], edges[at_layer]),
                control_name,
                *_against_control(shift_from_control, own, None if control is None else references[control]),
                None if decision is None else verdict_of(condition, decision, MEASURES[measure].moves),
                *_beyond_noise(decision, np.where(kept[at], values[:, at_layer], np.nan), at, names, labels),
            )


def layer_notes(run: Run, view: View) -> list[str]:
    """What a peak and a shift beyond noise are, and whose the labels are."""
    place = "" if MEASURES[view.measure].is_share else " over the layer's range"
    peak = f"peak: the fullest of {view.bins} bins{place}; peak % is its share of images: concentration, not sparseness"
    details = run.condition_details
    has_noise = any(noises_of(each, details) for each in details)
    beyond = f"beyond, sd: {BEYOND_WORDS}; {SIZE_WORDS}"
    return [peak, *([beyond] if has_noise else []), *label_notes(run)]


def verdict_of(condition: Condition, decision: Decision, moves: tuple[str, str]) -> str:
    """Its sentence; noise is compared with other noise, by name."""
    is_noise, deciding = condition.row.kind == "noise", decision.deciding
    noise = deciding.reference if is_noise and deciding is not None else "noise"
    return verdict(decision, moves, noise=noise, is_noise=is_noise)


def _differences(
    selected: NDArray[np.float64], values: NDArray[np.float64], references: Sequence[int | None]
) -> NDArray[np.float64]:
    """Each condition minus its reference, NaN where it has none."""
    differences = np.full_like(selected, np.nan)
    for place, reference in enumerate(references):
        if reference is not None:
            differences[place] = selected[place] - values[reference]
    return differences


def _described(
    run: Run,
    measure: str,
    selected: NDArray[np.float64],
    kept: NDArray[np.bool_],
    edges: Sequence[NDArray[np.float64]],
) -> list[list[Cells]]:
    """By condition and layer, what each shows by itself, from `images` to `active_fraction_mean`."""
    correct = (run.predictions == run.labels) if run.config.labels == "true" else None
    images = np.count_nonzero(kept, axis=-1)
    accuracy = np.full(images.shape, np.nan) if correct is None else percent((kept & correct).sum(axis=-1), images)
    summary = summarize(selected)
    peaks = [find_peaks(selected[:, [at_layer]], own, correct) for at_layer, own in enumerate(edges)]
    active = [np.full(summary.mean.shape, np.nan)]
    if measure == _ACTIVE:
        active = []
    elif _ACTIVE in run.measures:
        active = [summarize(np.where(kept[:, None, :], run.array(_ACTIVE), np.nan)).mean]

    def cells(at: int, at_layer: int) -> Cells:
        place, peak = (at, at_layer), peaks[at_layer]
        return (
            *numbers(images[at], images[at] - summary.images[place], summary.mean[place], summary.sd[place]),
            *numbers(summary.median[place], summary.q25[place], summary.q75[place]),
            *numbers(peak.left[at, 0], peak.center[at, 0], peak.right[at, 0]),
            *numbers(peak.percent[at, 0], peak.accuracy_percent[at, 0], accuracy[at]),
            *numbers(*(mean[place] for mean in active)),
        )

    return [[cells(at, at_layer) for at_layer in range(selected.shape[1])] for at in range(selected.shape[0])]


def _against_benign(
    shift: Shift, values: NDArray[np.float64], benign: NDArray[np.float64] | None, edges: NDArray[np.float64]
) -> Cells:
    """Differences from benign, by image and as distributions, from `delta_mean` to `auroc_ci_high`."""
    by_image = numbers(
        *(shift.mean, shift.ci_low, shift.ci_high, shift.median),
        *(shift.effect_size, shift.p, shift.p_holm, shift.percent_lower),
    )
    if benign is None:
        return (*by_image, *[None] * 5)
    common = overlap(bin_counts(values, edges), bin_counts(benign, edges))
    return (*by_image, *numbers(ks_distance(values, benign), common, *auroc(values, benign)))


def _against_control(shift: Shift, values: NDArray[np.float64], control: NDArray[np.float64] | None) -> Cells:
    """Differences from the control, from `delta_control_mean` to `auroc_control`."""
    area = None if control is None else as_cell(auroc(values, control)[0])
    return (*numbers(shift.mean, shift.ci_low, shift.ci_high, shift.effect_size, shift.p_holm), area)


def _beyond_noise(
    decision: Decision | None,
    values: NDArray[np.float64],
    at: int,
    names: Sequence[str],
    labels: NDArray[np.int64] | None,
) -> Cells:
    """Cells of _BEYOND_COLUMNS; None for benign, and where there is no noise to be told from.

    Args:
        decision: of the layer and condition.
        values: of the layer, (condition, image); NaN where silent or outside the subset.
        at: place of the condition.
        names: names of the conditions.
        labels: classes of the images, None for the network's own predictions.
    """
    if decision is None:
        return (None,) * len(_BEYOND_COLUMNS)
    silent_change = int(np.isnan(values[at]).sum()) - int(np.isnan(values[0]).sum())
    deciding = decision.deciding
    if deciding is None:
        return (*(None,) * (len(_BEYOND_COLUMNS) - 2), silent_change, None)
    moved = values[at] - np.where(np.isnan(values[0]), np.nan, values[names.index(deciding.reference)])
    classes = (None, None) if labels is None else classes_moved(moved, labels)
    return (
        *numbers(deciding.delta, deciding.low, deciding.high),
        deciding.reference,
        int(decision.is_equivalent),
        *numbers(rank_biserial(moved), 100 * deciding.same_way),
        *classes,
        silent_change,
        as_cell(decision.p_holm),
    )


MEASURE_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("measure", "measure", "text", "What is measured per image and layer.", True),
    Column("mean", "mean", "psi", "Mean over images.", True),
    Column("sd", "sd", "psi", "Standard deviation over images, ddof 1.", True),
    Column("median", "median", "psi", "Median over images.", True),
    *delta_columns("", "benign", True),
    _CONSISTENCY,
    Column("control", "control", "text", "The control that the next columns compare with.", True),
    *delta_columns("_control", "control", True),
    _CONSISTENCY_CONTROL,
)


def measure_rows(run: Run, _view: View) -> Iterator[Cells]:
    """One row per layer, condition and measure, over all images; differences from benign and from the control."""
    names = run.conditions
    controls = [each.control if each.control in names else None for each in run.condition_details]
    values = np.stack([run.array(measure).astype(np.float64) for measure in run.measures])
    differences = np.full((2, *values.shape), np.nan)
    differences[0, :, 1:] = values[:, 1:] - values[:, :1]
    for at, control in enumerate(controls):
        if control is not None:
            differences[1, :, at] = values[:, at] - values[:, names.index(control)]
    summary, statistics = summarize(values), paired_statistics(differences)
    for at_layer, at, number in np.ndindex(len(run.layers), len(names), len(run.measures)):
        place = number, at, at_layer
        shift, from_control = (statistics.at(reference, *place) for reference in range(2))
        yield (
            *(run.layers[at_layer], names[at], run.measures[number]),
            *numbers(summary.mean[place], summary.sd[place], summary.median[place]),
            *numbers(shift.mean, shift.ci_low, shift.ci_high, shift.effect_size),
            controls[at],
            *numbers(from_control.mean, from_control.ci_low, from_control.ci_high, from_control.effect_size),
        )


HISTOGRAM_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("bin_left", "from", "psi", "Left edge, which belongs to the bin.", True),
    Column("bin_right", "to", "psi", "Right edge, which belongs to the last bin only.", True),
    Column("count", "images", "count", "Images inside.", True),
    Column("percent", "%", "percent", "Share of the images that have a value: of PSI, the non-silent ones.", True),
)


def histogram_rows(run: Run, view: View) -> Iterator[Cells]:
    """One row per layer, condition and bin, the bins equal, as `measure_edges` lays them.

    Raises:
        ConfigError: the run has no such measure.
    """
    require_measure(view.measure, run.measures, run.name)
    values = run.array(view.measure)
    for at_layer, layer in enumerate(run.layers):
        of_layer = values[:, at_layer]
        edges = measure_edges(of_layer, view.measure, view.bins)
        counts = bin_counts(of_layer, edges)
        shares = percent(counts, np.count_nonzero(~np.isnan(of_layer), axis=-1)[..., None])
        for at, condition in enumerate(run.conditions):
            for number in range(view.bins):
                yield (
                    *(layer, condition),
                    *numbers(edges[number], edges[number + 1], counts[at, number], shares[at, number]),
                )
