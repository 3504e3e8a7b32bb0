"""Arguments as torch's functions over images take them."""

import operator
from typing import Any


def pair(value: Any) -> tuple[int, int] | None:
    """A number for down and one for across, from one for both or from a sequence of one or two; None for all else.

    Numbers of numpy and of torch are numbers too.
    """
    try:
        numbers = tuple(map(operator.index, value if isinstance(value, tuple | list) else (value,)))
    except TypeError:
        return None
    return {1: numbers * 2, 2: numbers}.get(len(numbers))  # type: ignore[return-value]
