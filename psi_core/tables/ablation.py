"""What an ablation found: its columns and rows, and what must be said beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from psi_core.ablation import AblationConfig, Mask
from psi_core.conditions import BENIGN
from psi_core.config import ResolvedConfig
from psi_core.plain_text import counted
from psi_core.tables.columns import Cell, Column, Row, as_number, readable
from psi_core.tables.export import ComputedTable

CLAIMED_PERCENT = 90
"""Share of the intact accuracy that 10-15 % of a layer's units are said in the literature to give."""

COLUMNS: tuple[Column, ...] = (
    Column("layer", "layer", "text", "The layer whose channels are masked."),
    Column("by", "by", "text", "How its channels are ordered: response, sparseness or random.", True),
    Column("selection", "selection", "text", "keep: the first channels are kept alone; drop: they are set to 0.", True),
    Column("percent", "%", "percent", "Share of the channels that was asked for.", True),
    Column("channels_kept", "kept", "count", "Channels that are left.", True),
    Column("channels", "channels", "count", "Channels of the layer."),
    Column("condition", "condition", "text", "What was done to the images, with the intact network.", True),
    Column("epsilon", "epsilon", "epsilon", "Largest change of a pixel, on the 0..1 scale."),
    Column("images", "images", "count", "How many were shown."),
    Column("accuracy_percent", "accuracy %", "percent", "Share that the masked network names correctly.", True),
    Column("relative_percent", "of intact %", "percent", "The same, of the intact network's benign accuracy.", True),
    Column(
        "prediction_agreement_percent",
        "agree %",
        "percent",
        "Share of the same images on which the masked and the intact network say the same.",
        True,
    ),
)


class AblationResult(ComputedTable):
    """What an ablation found: rows by ranking, percentage and condition."""

    COLUMNS = COLUMNS


@dataclass(frozen=True, slots=True)
class MaskedAccuracy:
    """How a network does under one mask, or intact; in percent, by condition.

    Attributes:
        accuracy: share of the images that are named correctly.
        agreement: share on which the network says what the intact one says.
    """

    accuracy: tuple[float, ...]
    agreement: tuple[float, ...]


def ablation_rows(
    config: AblationConfig,
    layer: str,
    channels: int,
    images: int,
    intact: MaskedAccuracy,
    masked: Mapping[Mask, MaskedAccuracy],
) -> list[Row]:
    """One row per ranking, percentage and condition.

    Args:
        config: what was asked.
        layer: name of the layer.
        channels: how many it has.
        images: how many were shown.
        intact: the whole network.
        masked: the network under each mask.
    """
    rows: list[tuple[Cell, ...]] = []
    whole = intact.accuracy[0]
    for by in config.by:
        for percent in config.percentages:
            mask = config.mask(by, percent, channels)
            found = masked[mask]
            for condition, accuracy, agreement in zip(config.conditions, found.accuracy, found.agreement, strict=True):
                relative = 100 * accuracy / whole if whole else None
                about = layer, by, config.selection, percent, len(mask.places), channels
                rows.append((*about, condition.name, condition.epsilon, images, accuracy, relative, agreement))
    return [dict(zip((column.name for column in COLUMNS), cells, strict=True)) for cells in rows]


def ablation_title(resolved: ResolvedConfig, layer: str, channels: int) -> str:
    """Model, data, images and layer in one line."""
    weights = Path(resolved.weights).name
    return (
        f"{resolved.model} ({weights} weights) on {resolved.data} {resolved.split} · "
        f"{counted(resolved.images, 'image')} · {layer}, {counted(channels, 'channel')}"
    )


def ablation_notes(config: AblationConfig, rows: Sequence[Row], intact: MaskedAccuracy, train_images: int) -> list[str]:
    """Sentences that belong beside the rows.

    Args:
        config: configuration of the ablation.
        rows: rows from `ablation_rows`.
        intact: the whole network.
        train_images: on how many the channels were ordered; 0 where all orders are drawn by lot.
    """
    names = [condition.name for condition in config.conditions]
    accuracies = (f"{name} {readable(value, 'percent')} %" for name, value in zip(names, intact.accuracy, strict=True))
    notes = [f"intact network: {', '.join(accuracies)}"]
    benign = [row for row in rows if row["condition"] == BENIGN]
    notes += [_claim(str(by), [*group]) for by, group in groupby(benign, key=lambda row: row["by"])]
    if train_images:
        notes.append(f"channels ordered by their responses to the first {train_images:,} training images")
    notes.append("attacked with the intact network; of intact %: of its benign accuracy; agree %: says what it says")
    if config.shared:
        notes.append("one order for all classes: a mask tells the network nothing of an image's label")
    else:
        notes.append(
            "an image's mask is its class's, which by itself tells the network something of the label: random, which "
            "does so too, is the control; --shared has one order for all classes"
        )
    if config.split == "train":
        notes.append("shown are training images, on which the channels were ordered too")
    return notes


def _claim(by: str, rows: Sequence[Row]) -> str:
    """With how few channels the benign accuracy is 90 % of the intact one, and stays so with more."""
    enough: Row | None = None
    for row in sorted(rows, key=lambda row: -as_number(row["channels_kept"])):
        if not as_number(row["relative_percent"]) >= CLAIMED_PERCENT:
            break
        enough = row
    if enough is None:
        return f"{by}: nowhere {CLAIMED_PERCENT} % of the intact benign accuracy"
    kept, channels = as_number(enough["channels_kept"]), as_number(enough["channels"])
    is_keep = enough["selection"] == "keep"
    count = kept if is_keep else channels - kept
    share = f"{count:.0f} of {channels:.0f} channels ({100 * count / channels:.3g} %)"
    reach = f"from {share} on" if is_keep else f"with up to {share} dropped"
    return f"{by}: {CLAIMED_PERCENT} % of the intact benign accuracy {reach}, of those tried"
