"""Liu's preset image by image: what can be asked of a run, and the rows of what came out.

A run keeps channels by class, not by image: the engine computes its images again. The yardstick, each channel's benign
mean and sd, is of what the run keeps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import BENIGN, Condition, sizing_attack
from psi_core.errors import ConfigError, RunError, unknown_name
from psi_core.measures import MEASURES
from psi_core.runs.loading import LayerInfo
from psi_core.runs.run import Run
from psi_core.statistics.classes import NEARLY_DEAD, dead_channels, nearly_dead_channels
from psi_core.statistics.contrasts import BEYOND_WORDS, SIZE_WORDS, Decision
from psi_core.statistics.findings import decisions_of
from psi_core.statistics.histograms import TABLE_BINS, table_edges
from psi_core.statistics.intervals import mean_of
from psi_core.statistics.paired import summarize
from psi_core.tables.classes import LEAST_CLASSES
from psi_core.tables.columns import CONDITION, LAYER, Column, Row, delta_columns, numbers
from psi_core.tables.export import ComputedTable, run_line
from psi_core.tables.layers import layer_columns, verdict_of
from psi_core.tables.registry import require_bins
from psi_core.tables.study import (
    STUDY_COLUMNS,
    claims_note,
    moves_note,
    network_of,
    reading_rows,
    study_condition,
    study_note,
)
from psi_core.tables.table import Cells, label_notes

ACROSS: dict[str, str] = {
    "classes": "the class means of the run's benign images, as Liu, Zhen & Liu 2020 do",
    "images": "the run's benign images",
}
"""What each channel's mean and sd are taken across."""

_OF_LAYERS = {column.name: column for column in layer_columns()}
_BEFORE_STUDY = 3
_OF_STUDY = STUDY_COLUMNS[_BEFORE_STUDY:]
"""Of the study table all but layer, condition and images."""

_BEYOND = ("delta_sd", "delta_sd_ci_low", "delta_sd_ci_high", "noise", "p_noise_holm", "verdict")

LIU_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("across", "across", "text", "What each channel's benign mean and sd are taken across: classes or images."),
    Column("images", "images", "count", "Images with a value.", True),
    Column(
        "psi_liu_mean",
        "PSI Liu",
        "psi",
        "Mean over images of PSI by the preset of Liu, Zhen & Liu 2020, dead channels kept, nearly dead ones left out.",
        True,
    ),
    Column("psi_liu_sd", "sd", "psi", "Standard deviation over images, ddof 1.", True),
    *delta_columns("", "benign", True),
    Column("shift_sd", "shift, sd", "sd", "Mean difference from benign, by image, in benign sd.", True),
    Column("shift_sd_ci_low", "shift low", "sd", "Lower end of its 95 % interval, of images or blocks of 50."),
    Column("shift_sd_ci_high", "shift high", "sd", "Upper end of its 95 % interval."),
    *(_OF_LAYERS[name] for name in _BEYOND),
    Column("psi_liu_live_mean", "PSI Liu live", "psi", "Mean of the same without the dead channels too.", True),
    Column("psi_liu_live_sd", "live sd", "psi", "Its standard deviation over images, ddof 1."),
    Column("shift_live_sd", "live shift, sd", "sd", "Its mean difference from benign, by image, in its benign sd."),
    Column("dead_channels", "dead", "count", "Channels of the layer whose mean is alike for all benign classes.", True),
    Column("channels", "channels", "count", "Channels of the layer.", True),
    Column(
        "nearly_dead_channels",
        "nearly dead",
        "count",
        f"Further channels whose benign sd is below {NEARLY_DEAD:g} of the live ones' median.",
    ),
    *_OF_STUDY,
)


@dataclass(frozen=True, slots=True)
class LiuRequest:
    """What is asked of a run.

    Attributes:
        conditions: those that are computed again, in the order of the run, benign first.
        images: how many, the first of its finished ones.
        across: one of ACROSS.
        bins: bins of the histograms whose fullest one is a peak.
    """

    conditions: tuple[Condition, ...]
    images: int
    across: str
    bins: int


@dataclass(frozen=True, slots=True)
class LiuValues:
    """What computing images again gave.

    Attributes:
        frozen: PSI by Liu's preset with dead channels, float64 (condition, layer, image); NaN where there is none.
        live: the same without the dead channels.
        labels: int64 (image,).
        predictions: int64 (condition, image), as they came out again.
        apart: the largest difference of the benign PSI from the run's.
        same_percent: share of the predictions that are the run's.
    """

    frozen: NDArray[np.float64]
    live: NDArray[np.float64]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    apart: float
    same_percent: float


class LiuResult(ComputedTable):
    """What Liu's preset gives image by image: rows by condition and layer."""

    COLUMNS = LIU_COLUMNS


def liu_request(
    run: Run,
    images: int | None = None,
    conditions: Sequence[str] = (),
    across: str = "classes",
    bins: int = TABLE_BINS,
) -> LiuRequest:
    """What is asked of a run, checked before any work.

    Args:
        run: the run.
        images: the first so many of its finished images; None: all of them.
        conditions: names of its conditions; none: all. Benign is always there, and so is the attack whose size a noise
            copies.
        across: one of ACROSS.
        bins: bins of the histograms.

    Raises:
        ConfigError: there is no such condition, the run has fewer images, or another option does not fit.
        RunError: no chunk is finished, or those that are do not tell each channel's mean and sd.
    """
    require_bins(bins)
    if across not in ACROSS:
        raise ConfigError(unknown_name("across", across, ACROSS))
    for name in conditions:
        if name not in run.conditions:
            raise ConfigError(unknown_name("conditions", name, run.conditions))
    if not run.has_sums:
        raise RunError(f"{run.name}: no chunk is finished yet; wait for its first one, or resume it")
    there = len(run.index)
    if images is not None and not 1 <= images <= there:
        raise ConfigError(f"images: {run.name} has {there} finished images, not {images}; write 1 to {there}")
    wanted = set(conditions or run.conditions)
    every = run.condition_details
    sizing = {sizing_attack(each, every) for each in every if each.name in wanted and each.row.copies_l2}
    chosen = tuple(each for each in every if each.is_benign or each.name in wanted or each in sizing)
    require_yardstick(run, across)
    return LiuRequest(chosen, there if images is None else images, across, bins)


def require_yardstick(run: Run, across: str) -> None:
    """Makes sure that a run tells each channel's benign mean and sd.

    Raises:
        RunError: it does not.
    """
    layer = run.layers[0]
    labels, counts, _ = run.class_sums(layer)
    if across == "classes" and len(labels) < LEAST_CLASSES:
        raise RunError(
            f"{run.name}: its images are of {len(labels)} classes, and an sd across classes needs {LEAST_CLASSES}; "
            "write --across images"
        )
    if across == "images" and (run.square_sums(layer) is None or counts.sum() < LEAST_CLASSES):
        raise RunError(
            f"{run.name}: its chunks tell no sd across images, being of an older version or of fewer than "
            f"{LEAST_CLASSES} images; write --across classes"
        )


def yardstick(run: Run, layer: LayerInfo, across: str) -> NDArray[np.float64]:
    """Rows whose mean and sd (ddof 0), channel by channel, are those that every condition is measured by.

    Args:
        run: a run with finished chunks.
        layer: one of its layers.
        across: `classes`, whose rows are the benign class means; `images`, whose two rows lie one sd below and above
            the mean over the benign images.

    Returns:
        (row, channel).
    """
    _, counts, sums = run.class_sums(layer.name)
    if across == "classes":
        means: NDArray[np.float64] = sums[0] / counts[:, None]
        return means
    squares = run.square_sums(layer.name)
    assert squares is not None, "a request is refused where there are none"
    mean = sums[0].sum(axis=0) / counts.sum()
    sd = np.sqrt(np.maximum(squares[0] / counts.sum() - mean**2, 0.0))
    return np.stack([mean - sd, mean + sd])


def liu_result(run: Run, request: LiuRequest, values: LiuValues) -> LiuResult:
    """Rows and notes of what came out.

    Args:
        run: the run.
        request: what was asked of it.
        values: what the engine computed, of the conditions asked for.
    """
    names = [column.name for column in LIU_COLUMNS]
    rows = [dict(zip(names, cells, strict=True)) for cells in liu_rows(run, request, values)]
    part = "" if request.images == len(run.index) else f"; the first {request.images:,} of them"
    title = f"{run.name}: {run_line(run)}{part}"
    return LiuResult(rows, title, liu_notes(run, request, values, rows))


def liu_rows(run: Run, request: LiuRequest, values: LiuValues) -> Iterator[Cells]:
    """One row per condition and layer, benign first; changes and agreement stand in the rows of the others."""
    details = request.conditions
    kept = np.ones(values.predictions.shape, np.bool_)
    decided = decisions_of(values.frozen, kept, details)
    decided_live = decisions_of(values.live, kept, details)
    whole, live = summarize(values.frozen), summarize(values.live)
    counts = [_channel_counts(yardstick(run, layer, request.across)) for layer in run.layer_infos]
    for at, (condition, readings) in enumerate(zip(details, _readings(run, request, values), strict=True)):
        decisions, decisions_live = decided[at], decided_live[at]
        for place, layer in enumerate(run.layers):
            decision = None if decisions is None else decisions[place]
            shift_live = np.nan if decisions_live is None else decisions_live[place].against_benign.delta
            yield (
                *(layer, condition.name, request.across),
                *numbers(whole.images[at, place], whole.mean[at, place], whole.sd[at, place]),
                *_shift_cells(condition, decision, values.frozen[[0, at], place]),
                *numbers(live.mean[at, place], live.sd[at, place], shift_live),
                *counts[place],
                *readings[place],
            )


_SHIFT_CELLS = 6 + len(_BEYOND)


def _shift_cells(condition: Condition, decision: Decision | None, pair: NDArray[np.float64]) -> Cells:
    """From `delta_mean` to `verdict`; `pair` is one layer, benign and under the condition, (2, image)."""
    if decision is None:
        return (None,) * _SHIFT_CELLS
    raw = mean_of(pair[1] - pair[0])
    shift, deciding = decision.against_benign, decision.deciding
    beyond: Cells = (None,) * 5
    if deciding is not None:
        beyond = (
            *numbers(deciding.delta, deciding.low, deciding.high),
            deciding.reference,
            *numbers(decision.p_holm),
        )
    words = verdict_of(condition, decision, MEASURES["psi"].moves)
    return (*numbers(raw.mean, *raw.interval(), shift.delta, shift.low, shift.high), *beyond, words)


def _channel_counts(reference: NDArray[np.float64]) -> Cells:
    """Dead channels, all channels, nearly dead channels of one layer."""
    dead, nearly = (int(np.count_nonzero(which(reference))) for which in (dead_channels, nearly_dead_channels))
    return dead, reference.shape[1], nearly


def _readings(run: Run, request: LiuRequest, values: LiuValues) -> Iterator[list[Cells]]:
    """By condition, the cells of `_OF_STUDY` of every layer; published values beside benign and the study's attack."""
    correct = values.predictions == values.labels if run.config.labels == "true" else None
    edges = [table_edges(request.bins)] * len(run.layers)
    for at, name in enumerate(each.name for each in request.conditions):
        network = network_of(run) if name in (BENIGN, study_condition(run)) else ""
        own = None if correct is None else correct[[0, at]]
        rows = reading_rows(network, run.layers, name, values.frozen[[0, at]], own, edges)
        yield [row[_BEFORE_STUDY:] for row in rows if row[1] == name]


def liu_notes(run: Run, request: LiuRequest, values: LiuValues, rows: Sequence[Row]) -> list[str]:
    """Sentences that belong beside the rows."""
    moved, claims = moves_note(rows), claims_note(rows)
    is_alone = len(request.conditions) == 1
    has_noise = any(row["noise"] is not None for row in rows)
    return [
        f"PSI Liu: channels' means of each image, by their benign mean and sd across {ACROSS[request.across]}, "
        "scaled to 0..1 over the channels",
        f"dead channels stay at their middle; live: without them; those nearly dead (sd below {NEARLY_DEAD:g} of the "
        "live ones' median) are left out of both",
        f"computed again: benign PSI within {values.apart:.1e} of the run's, {values.same_percent:.1f} % of the "
        "predictions the same",
        *([] if is_alone else ["shift, sd: mean difference from benign, in benign sd"]),
        *([f"beyond, sd: {BEYOND_WORDS}; {SIZE_WORDS}"] if has_noise else []),
        *study_note(request.bins).replace("the PSI", "the PSI Liu").splitlines(),
        *([moved] if moved else []),
        *(["what the study's text says of layers, and whether it holds here:", claims] if claims else []),
        *label_notes(run),
    ]
