"""Results as JSON text: full precision, and null where there is no number, for JSON knows no NaN."""

import json
import math
from typing import Any


def json_text(value: Any) -> str:
    """Any of our results as indented JSON."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
