"""Plain values as JSON, which has no NaN: null stands for it."""

import json
import math
from typing import Any


def finite(value: Any) -> Any:
    """The same plain value with null for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def encode_json(value: Any) -> bytes:
    """A plain value as the text of a JSON file."""
    return (json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
