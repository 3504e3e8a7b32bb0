"""JSON for our own protocol and caches: full precision, and null where there is no finite number."""

import json
import math
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """A value as JSON holds it: NaN and infinity become None, tuples lists, paths and keys text."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_line(value: Any) -> str:
    """A value as one line of JSON, without its newline."""
    return json.dumps(plain(value), allow_nan=False)
