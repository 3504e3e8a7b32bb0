"""Values of options that have a form of their own: names, fractions, a part of a file, an axis."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator

from psi_core.conditions import Epsilon
from psi_core.options import split_list

NPY_PLACE = re.compile(r"(.+?)(?:\[(\d*):(\d*)\])?")
"""Path of an array in a file, and which of its images: `gaussian_noise.npy[40000:50000]`."""


Names = Annotated[tuple[str, ...], BeforeValidator(split_list)]


def _as_epsilon(value: object, handler: ValidatorFunctionWrapHandler) -> Any:
    """A fraction keeps how it was written; any other number is taken as pydantic takes it."""
    if isinstance(value, str) and "/" in value:
        return Epsilon(value)
    return value if isinstance(value, Epsilon) else handler(value)


def _as_json(value: float) -> str | float:
    return str(value) if isinstance(value, Epsilon) else value


Epsilons = Annotated[
    tuple[Annotated[float, WrapValidator(_as_epsilon), PlainSerializer(_as_json, str | float, when_used="json")], ...],
    BeforeValidator(split_list),
]
"""Epsilons as a list, or text with commas; each a number, or a fraction."""


def parse_channel_axis(text: str) -> tuple[str, int]:
    """The pattern of layers and the axis of their outputs in `PATTERN=AXIS`.

    Raises:
        ValueError: the text has another form, or names axis 0, along which images lie.
    """
    pattern, _, number = text.rpartition("=")
    try:
        axis = int(number)
    except ValueError:
        axis = 0
    if not pattern or not axis:
        raise ValueError(
            f"channel_axis: {text!r} does not fit; write PATTERN=AXIS such as blocks.*=2, or blocks.*=-1 for the last; "
            "images lie along axis 0"
        )
    return pattern, axis
