"""Results as JSON text: full precision, and null where there is no number, for JSON knows no NaN."""

import json
from typing import Any

from psi_core.plain_json import plain


def json_text(value: Any) -> str:
    """Any of our results as indented JSON."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
