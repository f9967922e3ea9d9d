"""Plain values for JSON."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """The same plain value with null for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
