"""The channels and the lifetime table: what each channel of a layer responds to, over all images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi_core.runs.run import LayerInfo, Run
from psi_core.statistics.classes import lifetime_sparseness
from psi_core.statistics.paired import summarize
from psi_core.tables.columns import CONDITION, LAYER, Column, Row, as_cell, as_cells

CHANNEL_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("channel", "channel", "count", "Number of the channel, from 0.", True),
    Column("response_mean", "response", "number", "Mean over images of the channel's spatial mean.", True),
    Column(
        "lifetime_sparseness",
        "lifetime",
        "psi",
        "Over images: 0 all excite the channel alike, 1 a single one does; empty where it is silent.",
        True,
    ),
    Column("lifetime_delta", "d benign", "shift", "Lifetime sparseness minus that of benign.", True),
)

LIFETIME_COLUMNS: tuple[Column, ...] = (
    LAYER,
    CONDITION,
    Column("channels", "channels", "count", "Channels of the layer.", True),
    Column("dead", "dead", "count", "Channels that are silent for every image.", True),
    Column("lifetime_mean", "lifetime", "psi", "Mean lifetime sparseness of the channels that are not dead.", True),
    Column("lifetime_median", "median", "psi", "Median of the same.", True),
    Column("lifetime_q25", "q25", "psi", "First quartile of the same.", True),
    Column("lifetime_q75", "q75", "psi", "Third quartile of the same.", True),
    Column("delta_mean", "d benign", "shift", "Mean difference from benign, by channel, dead in neither.", True),
)


@dataclass(frozen=True, slots=True)
class _ChannelValues:
    """Of one layer, each (condition, channel); NaN where there is no value.

    Attributes:
        response_mean: over the images of finished chunks.
        lifetime: sparseness over them; NaN where the channel is silent, or there are no sums of squares.
        delta: lifetime sparseness minus benign; NaN for benign.
    """

    response_mean: NDArray[np.float64]
    lifetime: NDArray[np.float64]
    delta: NDArray[np.float64]


def channel_rows(run: Run) -> list[Row]:
    """One row per layer, condition and channel; open chunks do not count.

    Raises:
        RunError: the run has no results yet.
    """
    run.array("index")  # Asks for results before any work.
    rows: list[Row] = []
    for layer in run.layer_infos:
        values = _channel_values(run, layer)
        for at, condition in enumerate(run.conditions):
            cells = (as_cells(each[at]) for each in (values.response_mean, values.lifetime, values.delta))
            rows += (
                {
                    "layer": layer.name,
                    "condition": condition,
                    "channel": channel,
                    "response_mean": mean,
                    "lifetime_sparseness": lifetime,
                    "lifetime_delta": delta,
                }
                for channel, (mean, lifetime, delta) in enumerate(zip(*cells, strict=True))
            )
    return rows


def lifetime_rows(run: Run) -> list[Row]:
    """One row per layer and condition: the lifetime sparseness of its channels; open chunks do not count.

    Raises:
        RunError: the run has no results yet.
    """
    run.array("index")  # Asks for results before any work.
    rows: list[Row] = []
    for layer in run.layer_infos:
        values = _channel_values(run, layer)
        dead = np.count_nonzero(values.response_mean == 0, axis=-1)
        lifetime, delta = summarize(values.lifetime), summarize(values.delta)
        for at, condition in enumerate(run.conditions):
            rows.append(
                {
                    "layer": layer.name,
                    "condition": condition,
                    "channels": values.lifetime.shape[-1],
                    "dead": as_cell(dead[at]) if run.has_sums else None,
                    "lifetime_mean": as_cell(lifetime.mean[at]),
                    "lifetime_median": as_cell(lifetime.median[at]),
                    "lifetime_q25": as_cell(lifetime.q25[at]),
                    "lifetime_q75": as_cell(lifetime.q75[at]),
                    "delta_mean": as_cell(delta.mean[at]),
                }
            )
    return rows


def _channel_values(run: Run, layer: LayerInfo) -> _ChannelValues:
    nothing = np.full((len(run.conditions), layer.channels), np.nan)
    if not run.has_sums:
        return _ChannelValues(nothing, nothing, nothing)
    (images, total), squares = run.channel_sums(layer.name), run.square_sums(layer.name)
    lifetime = np.full(total.shape, np.nan) if squares is None else lifetime_sparseness(total, squares, images)
    delta = lifetime - lifetime[0]
    delta[0] = np.nan
    return _ChannelValues(total / images, lifetime, delta)
