"""Parameters' values as text that a command line takes."""

import json
from collections.abc import Mapping
from typing import Any


def value_text(value: Any) -> str:
    """A value as YAML reads it: numbers with four digits."""
    if isinstance(value, float):
        if not 0 < abs(value) < 1e-3:
            return f"{value:.4g}"
        digits, power = f"{value:.3e}".split("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def assignments(sample: Mapping[str, Any]) -> tuple[str, ...]:
    """`KEY=VALUE` for each parameter."""
    return tuple(f"{name}={value_text(value)}" for name, value in sample.items())
