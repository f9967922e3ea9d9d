"""Parameters' values as text that a command line takes."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from multitask.config.yaml_text import read_value


def value_text(value: Any) -> str:
    """A value as YAML reads it: numbers with four digits."""
    if isinstance(value, float):
        if not 0 < abs(value) < 1e-3:
            return f"{value:.4g}"
        digits, power = f"{value:.3e}".split("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def assignments(sample: Mapping[str, Any]) -> tuple[str, ...]:
    """`KEY=VALUE` for each parameter, to be read by people."""
    return tuple(f"{name}={value_text(value)}" for name, value in sample.items())


def exact_assignments(sample: Mapping[str, Any], parameters: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """`KEY=VALUE` for each parameter, short where the short text is read as a value of the parameter, else exact."""
    return tuple(f"{name}={_exact(value, parameters[name])}" for name, value in sample.items())


def read_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """The sample that `KEY=VALUE` texts say."""
    return {key: read_value(value) for key, _, value in (text.partition("=") for text in texts)}


def _exact(value: Any, about: Mapping[str, Any]) -> str:
    short = value_text(value)
    read = read_value(short)
    if about["kind"] == "choice":
        is_same = read == value and type(read) is type(value)
    else:
        is_same = isinstance(read, int | float) and about["low"] <= read <= about["high"]
    return short if is_same else json.dumps(value, separators=(",", ":"))
