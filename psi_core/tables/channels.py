"""The channels and the lifetime table: what each channel of a layer responds to, over all images."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi_core.runs.loading import LayerInfo
from psi_core.runs.run import Run
from psi_core.statistics.classes import lifetime_sparseness
from psi_core.statistics.paired import summarize
from psi_core.tables.columns import CONDITION, LAYER, Column, as_cell, as_cells, numbers
from psi_core.tables.table import Cells, View

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


def channel_rows(run: Run, _view: View) -> Iterator[Cells]:
    """One row per layer, condition and channel; open chunks do not count."""
    run.array("index")  # Asks for results before any work.
    for layer in run.layer_infos:
        values = _channel_values(run, layer)
        for at, condition in enumerate(run.conditions):
            cells = (as_cells(each[at]) for each in (values.response_mean, values.lifetime, values.delta))
            for channel, of_channel in enumerate(zip(*cells, strict=True)):
                yield layer.name, condition, channel, *of_channel


def lifetime_rows(run: Run, _view: View) -> Iterator[Cells]:
    """One row per layer and condition: the lifetime sparseness of its channels; open chunks do not count."""
    run.array("index")  # Asks for results before any work.
    for layer in run.layer_infos:
        values = _channel_values(run, layer)
        dead = np.count_nonzero(values.response_mean == 0, axis=-1)
        lifetime, delta = summarize(values.lifetime), summarize(values.delta)
        for at, condition in enumerate(run.conditions):
            yield (
                layer.name,
                condition,
                values.lifetime.shape[-1],
                as_cell(dead[at]) if run.has_sums else None,
                *numbers(lifetime.mean[at], lifetime.median[at], lifetime.q25[at], lifetime.q75[at], delta.mean[at]),
            )


def lifetime_notes(run: Run, _view: View) -> list[str]:
    """What lifetime sparseness is, and why an older run has none."""
    notes = ["lifetime sparseness: the formula of PSI for one channel, by its spatial mean, over all images"]
    if run.has_sums and run.square_sums(run.layers[0]) is None:
        notes.append("no lifetime sparseness: an older version made this run, without sums of squares; run it again")
    return notes


def _channel_values(run: Run, layer: LayerInfo) -> _ChannelValues:
    nothing = np.full((len(run.conditions), layer.channels), np.nan)
    if not run.has_sums:
        return _ChannelValues(nothing, nothing, nothing)
    (images, total), squares = run.channel_sums(layer.name), run.square_sums(layer.name)
    lifetime = np.full(total.shape, np.nan) if squares is None else lifetime_sparseness(total, squares, images)
    delta = lifetime - lifetime[0]
    delta[0] = np.nan
    return _ChannelValues(total / images, lifetime, delta)
