"""What commands print for programs."""

import json
import math
from typing import Any


def print_json(value: Any) -> None:
    """One line of valid JSON; numbers that are not finite become null."""
    print(json.dumps(_finite(value), ensure_ascii=False), flush=True)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
