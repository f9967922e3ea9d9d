"""What a space in YAML leaves out: combinations of values that are not tried."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multitask.config import RunConfig
from multitask.config.messages import valid_names
from multitask.errors import UserError
from tune_spaces.core.parameter import Parameter

ENDS = ("above", "below")


@dataclass(frozen=True)
class Exclusion:
    """Samples for which all of `conditions` hold: parameter to a value, to a list of values, or to `{above: A, below: B}`."""

    conditions: Mapping[str, Any]

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it leaves these values out; a parameter that is not active meets no condition."""
        return all(name in values and _meets(values[name], wanted) for name, wanted in self.conditions.items())


@dataclass(frozen=True)
class Allowed:
    """The constraint that none of `exclusions` holds."""

    exclusions: tuple[Exclusion, ...]

    def __call__(self, base: RunConfig, values: Mapping[str, Any]) -> bool:
        return not any(own.holds(values) for own in self.exclusions)


def read_exclusions(path: str, given: object, parameters: Mapping[str, Parameter]) -> tuple[Exclusion, ...]:
    """The list `exclude` of a file.

    Raises:
        UserError: it is no list, or it names a parameter or a value that is none.
    """
    if not isinstance(given, list):
        raise UserError(f"{path}: exclude must be a list of conditions, got {given!r}")
    for index, own in enumerate(given):
        where = f"{path}: exclude.{index}"
        if not isinstance(own, dict) or not own:
            raise UserError(f"{where}: must be names of parameters to values, got {own!r}")
        for name, wanted in own.items():
            if name not in parameters:
                raise UserError(f"{where}: no parameter {name!r}; {valid_names(str(name), parameters)}")
            _check(f"{where}.{name}", parameters[name], wanted)
    return tuple(Exclusion(own) for own in given)


def _check(where: str, own: Parameter, wanted: object) -> None:
    if isinstance(wanted, dict):
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in wanted.values())
        if own.kind == "choice" or not wanted or not set(wanted) <= set(ENDS) or not numbers:
            raise UserError(f"{where}: must be a value, values, or for numbers {{above: A, below: B}}, got {wanted!r}")
        return
    for value in _listed(wanted):
        if not own.contains(value):
            raise UserError(f"{where}: must be {own}, got {value!r}")


def _meets(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return bool(value > wanted.get("above", -float("inf")) and value < wanted.get("below", float("inf")))
    return any(value == own and isinstance(value, bool) is isinstance(own, bool) for own in _listed(wanted))


def _listed(wanted: Any) -> list[Any]:
    return wanted if isinstance(wanted, list) else [wanted]
