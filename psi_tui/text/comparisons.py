"""Comparisons as they are typed in a filter, `psi>0.93`: of runs and of images alike."""

import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
"""By their signs; where one begins like another, the longer first."""

_MOST_DECIMALS = 15
"""More no double has."""


def compare(sign: str, values: Any, number: float, text: str = "") -> Any:
    """Whether a number fits a comparison; of an array, which of its numbers do.

    `=` holds as far as the number is written: `0.93` equals 0.925 to 0.935. `!=` holds where `=` does not, and so of
    what is no number too.

    Args:
        sign: one of COMPARISONS.
        values: a number or an array.
        number: that they are compared with.
        text: as it was typed; empty where it is to be met exactly.
    """
    if sign not in ("=", "!=") or not text:
        return COMPARISONS[sign](values, number)
    exponent = Decimal(text).as_tuple().exponent
    half = 0.5 * 10.0 ** max(int(exponent), -_MOST_DECIMALS)
    return (abs(values - number) <= half) == (sign == "=")


def filter_words(text: str, signs: str) -> list[str]:
    """The words of a filter, spaces around a comparison left out.

    Args:
        text: as typed.
        signs: regular expression of the comparisons that it may hold.
    """
    return re.sub(rf"\s*({signs})\s*", r"\1", text).split()
