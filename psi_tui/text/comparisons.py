"""Comparisons as they are typed in a filter, `psi>0.93`."""

import operator
import re
from collections.abc import Callable, Mapping
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


def filter_words(text: str, signs: str) -> list[str]:
    """The words of a filter, spaces around a comparison left out.

    Args:
        text: as typed.
        signs: regular expression of the comparisons that it may hold.
    """
    return re.sub(rf"\s*({signs})\s*", r"\1", text).split()
