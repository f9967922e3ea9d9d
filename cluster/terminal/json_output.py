"""What commands print for programs."""

import json
from typing import Any

from multitask.plain_json import finite


def print_json(value: Any) -> None:
    """One line of valid JSON; numbers that are not finite become null."""
    print(json.dumps(finite(value), ensure_ascii=False, allow_nan=False), flush=True)
