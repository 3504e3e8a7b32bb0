"""Ablation: what a network still recognizes when only some of a layer's channels are left. Here is what can be asked.

A channel is one feature map of a convolution, one feature of all tokens, or one of a fully connected layer. Masking
sets the layer's output to 0 in all other channels.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool, ValidationInfo, field_validator, model_validator

from psi_core.config import Count, Order, RunConfig, RunOptions, Unit
from psi_core.errors import unknown_name
from psi_core.option_values import Names
from psi_core.options import Option, split_list
from psi_core.typed_names import way_out

RANKINGS: dict[str, str] = {
    "response": "the highest mean response to the class first",
    "sparseness": "the highest lifetime sparseness over the images of the class first, silent channels last",
    "random": "an order drawn by lot for each class",
}
"""How the channels of a layer are ordered, for each class or for all; equal ones by their number."""

DEFAULT_PERCENTAGES = (5.0, 10.0, 15.0, 25.0, 50.0, 100.0)
DEFAULT_TRAIN_IMAGES = 2000

RUN_FIELDS = (
    *("model", "weights", "data", "split", "images", "size", "resize", "normalize", "rectify", "channel_axis"),
    *("epsilon", "seed", "precision", "device", "batch", "threads", "class_order"),
)
"""Options of a run that an ablation takes; its labels are the true ones."""

_OWN_FIELDS = ("layer", "keep", "drop", "by", "train_images", "shared")


def _percentage(value: object, info: ValidationInfo) -> float:
    try:
        percent = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        percent = math.nan
    if not 0 <= percent <= 100:
        raise ValueError(f"{info.field_name}: {value} is no percentage of 0 to 100; write some such as 5,10,50")
    return abs(percent)  # -0.0 is 0.


Percentages = Annotated[tuple[Annotated[float, BeforeValidator(_percentage)], ...], BeforeValidator(split_list)]


@dataclass(frozen=True, slots=True)
class Mask:
    """Which channels of a layer are left.

    Attributes:
        by: name of the ranking that orders the channels.
        places: in that order, of the channels that are left.
    """

    by: str
    places: range


class AblationConfig(RunOptions):
    """What is left out of which network; validated as a run's options are.

    Attack and control stand fixed: FGSM, and signs drawn by lot of the same size beside it. So does the unit, which is
    a channel.

    Attributes:
        layer: name of the layer whose channels are masked.
        keep: percentages of the channels, the first of the order, that are left alone.
        drop: instead, percentages that are set to 0.
        by: names of RANKINGS.
        train_images: the first N training images, on which the orders are made; None: 2,000, or all of fewer.
        shared: whether all classes have one order, the mean over classes, so that a mask tells nothing of the label.

    Raises:
        ConfigError: a key is unknown or a value cannot stand.
    """

    controls: Names = ("sign-noise",)
    images: Annotated[Count | None, Option(where_empty="all")] = Field(
        None, description="the first N images, of a folder every class in turn (default: all)"
    )
    order: Order = "first"
    unit: Unit = "channel"

    layer: str = ""
    keep: Percentages | None = None
    drop: Percentages | None = None
    by: Names = ("response", "random")
    train_images: Annotated[Count | None, Option(fits="a whole number of at least 1")] = None
    shared: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _only_its_own_options(cls, values: Any) -> Any:
        for key in values:
            if key not in (*RUN_FIELDS, *_OWN_FIELDS):
                raise ValueError(unknown_name("ablate", key, (*RUN_FIELDS, *_OWN_FIELDS)))
        if values.get("keep") is not None and values.get("drop") is not None:
            raise ValueError("drop: --keep and --drop exclude each other; write one of them")
        return values

    @field_validator("layer")
    @classmethod
    def _named_layer(cls, value: str) -> str:
        if not value:
            raise ValueError("layer: none is named; write one such as conv5, as psi-tui layers MODEL lists them")
        return value

    @field_validator("keep", "drop")
    @classmethod
    def _some_percentage(cls, value: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        if value == ():
            raise ValueError(f"{info.field_name}: the list is empty; write percentages such as 5,10,50")
        return value and tuple(dict.fromkeys(value))

    @field_validator("by")
    @classmethod
    def _known_rankings(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError(f"by: the list is empty; write some of {', '.join(RANKINGS)}")
        for name in value:
            if name not in RANKINGS:
                raise ValueError(way_out("by", name) or unknown_name("by", name, RANKINGS))
        return tuple(dict.fromkeys(value))

    @property
    def run(self) -> RunConfig:
        """The run over the one layer, which says what is computed and how."""
        options = {name: getattr(self, name) for name in RunConfig.model_fields}
        return RunConfig(**{**options, "layers": (self.layer,)})

    @property
    def selection(self) -> str:
        """`keep` or `drop`."""
        return "keep" if self.drop is None else "drop"

    @property
    def percentages(self) -> tuple[float, ...]:
        """Numbers of the layer's channels, kept or dropped, in the order they were asked for."""
        asked = self.keep if self.drop is None else self.drop
        return DEFAULT_PERCENTAGES if asked is None else asked

    def mask(self, by: str, percent: float, channels: int) -> Mask:
        """The mask of one ranking and percentage.

        A share is rounded up to whole channels, so that any above 0 takes at least one.
        """
        chosen = math.ceil(Fraction(repr(percent)) * channels / 100)  # Exact: 16.1 % of 1,000 as floats would be 162.
        return Mask(by, range(chosen) if self.drop is None else range(chosen, channels))
