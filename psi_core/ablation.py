"""Ablation: what a network still recognizes when only some of a layer's channels are left. The question alone.

A channel is one feature map of a convolution, or one feature of a fully connected layer. Masking sets the layer's
output to 0 in all other channels.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from psi_core.conditions import BENIGN, Condition
from psi_core.config import RunConfig
from psi_core.errors import ConfigError, unknown_name

RANKINGS: dict[str, str] = {
    "response": "the highest mean response to the class first",
    "sparseness": "the highest lifetime sparseness over the images of the class first, silent channels last",
    "random": "an order drawn by lot for each class",
}
"""How the channels of a layer are ordered, for each class or for all; equal ones by their number."""

DEFAULT_PERCENTAGES = (5.0, 10.0, 15.0, 25.0, 50.0, 100.0)
DEFAULT_TRAIN_IMAGES = 2000

RUN_FIELDS = (
    *("model", "weights", "data", "split", "images", "size", "resize", "normalize", "rectify"),
    *("epsilon", "seed", "precision", "device", "batch", "threads"),
)
"""Fields of RunConfig that an ablation takes; labels are true ones."""

_OWN_KEYS = ("layer", "keep", "drop", "by", "train_images", "shared")


@dataclass(frozen=True, slots=True)
class AblationConfig:
    """What is left out of which network.

    Attributes:
        run: model, data, epsilon and how they are computed; its one layer is the one whose channels are masked.
        layer: its name.
        selection: `keep` or `drop`: whether the first channels of the order are kept alone, or set to 0.
        percentages: of the layer's channels, 0..100, in the order they were asked for.
        by: names of RANKINGS.
        train_images: the first N training images, on which the orders are made; None: 2,000, or all of fewer.
        shared: whether all classes have one order, the mean over classes, so that a mask tells nothing of the label.
    """

    run: RunConfig
    layer: str
    selection: str = "keep"
    percentages: tuple[float, ...] = DEFAULT_PERCENTAGES
    by: tuple[str, ...] = ("response", "random")
    train_images: int | None = None
    shared: bool = False

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "AblationConfig":
        """The ablation of these keys: RUN_FIELDS, layer, keep or drop, by, train_images, shared.

        Lists may be given as text with commas.

        Raises:
            ConfigError: a key is unknown or a value cannot stand.
        """
        for key in values:
            if key not in (*RUN_FIELDS, *_OWN_KEYS):
                raise ConfigError(unknown_name("ablate", key, (*RUN_FIELDS, *_OWN_KEYS)))
        layer = values.get("layer")
        if not isinstance(layer, str) or not layer:
            raise ConfigError("layer: none is named; write one such as conv5, as psi-tui layers MODEL lists them")
        if values.get("keep") is not None and values.get("drop") is not None:
            raise ConfigError("drop: keep and drop are two questions; write one of them")
        selection = "keep" if values.get("drop") is None else "drop"
        asked = values.get(selection)
        train_images = values.get("train_images")
        shared = values.get("shared", False)
        if not isinstance(shared, bool):
            raise ConfigError(f"shared: {shared!r} does not fit; write true or false")
        chosen = {key: values[key] for key in RUN_FIELDS if key in values}
        return cls(
            RunConfig(**chosen, layers=[layer], attack="fgsm", controls="sign-noise", unit="channel"),
            layer,
            selection,
            DEFAULT_PERCENTAGES if asked is None else _percentages(selection, asked),
            _rankings(values["by"]) if values.get("by") is not None else ("response", "random"),
            None if train_images is None else _count("train_images", train_images),
            shared,
        )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Benign, then FGSM at every epsilon, each with signs drawn by lot of the same size beside it."""
        attacked = [Condition("fgsm", epsilon) for epsilon in self.run.epsilon]
        noise = [Condition("sign-noise", epsilon) for epsilon in self.run.epsilon if epsilon > 0]
        return (Condition(BENIGN), *attacked, *noise)

    def channels_kept(self, percent: float, channels: int) -> int:
        """How many of a layer's channels are left; a share is rounded up, so that any above 0 takes at least one."""
        chosen = math.ceil(Fraction(repr(percent)) * channels / 100)  # Exact: 16.1 % of 1,000 as floats would be 162.
        return chosen if self.selection == "keep" else channels - chosen


def _percentages(where: str, given: object) -> tuple[float, ...]:
    percentages = []
    for part in _parts(given):
        try:
            percent = math.nan if isinstance(part, bool) else float(part)
        except (TypeError, ValueError):
            percent = math.nan
        if not 0 <= percent <= 100:
            raise ConfigError(f"{where}: {part} is no percentage of 0 to 100; write some such as 5,10,50")
        percentages.append(abs(percent))
    if not percentages:
        raise ConfigError(f"{where}: the list is empty; write percentages such as 5,10,50")
    return tuple(dict.fromkeys(percentages))


def _rankings(given: object) -> tuple[str, ...]:
    names = [str(part) for part in _parts(given)]
    if not names:
        raise ConfigError(f"by: the list is empty; write some of {', '.join(RANKINGS)}")
    for name in names:
        if name not in RANKINGS:
            raise ConfigError(unknown_name("by", name, RANKINGS))
    return tuple(dict.fromkeys(names))


def _count(where: str, given: object) -> int:
    text = "" if isinstance(given, bool) else str(given).strip()
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{where}: {given!r} does not fit; write a whole number of at least 1")
    return int(text)


def _parts(given: object) -> Iterable[Any]:
    if isinstance(given, str):
        return [part.strip() for part in given.split(",") if part.strip()]
    return given if isinstance(given, Iterable) else [given]
