"""What is said of a search space, before there is a recipe around which it lies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from multitask.config import RunConfig
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.settings import configured, own_value


def always(base: RunConfig, values: Mapping[str, Any]) -> bool:
    """No constraint."""
    return True


@dataclass(frozen=True)
class Definition:
    """What a module or a file says of a space. `spec`: what the user calls it.

    `to_config(base, values)`: the config, validated. `allowed(base, values)`: whether the constraints hold.
    `own(base, name)`: the recipe's own value of a parameter, or `MISSING`. `values` has all active parameters, fixed ones, too.
    `constraints`: what `allowed` goes by, as plain JSON, where that can be said.
    """

    name: str
    spec: str
    about: str
    parameters: Mapping[str, Parameter]
    to_config: Callable[[RunConfig, Mapping[str, Any]], RunConfig] = configured
    allowed: Callable[[RunConfig, Mapping[str, Any]], bool] = always
    own: Callable[[RunConfig, str], Any] = own_value
    points: tuple[dict[str, Any], ...] = ()
    mutable: tuple[str, ...] = ()
    constraints: tuple[dict[str, Any], ...] = ()
