"""Arguments as torch's functions over images take them."""

from typing import Any


def pair(value: Any) -> tuple[int, int]:
    """A number for down and one for across, from one for both or from a sequence of one or two."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    return both if len(both) == 2 else (both[0], both[0])
