"""What is said of a search space, before there is a recipe around which it lies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from multitask.config import RunConfig
from multitask.config.messages import valid_names
from multitask.errors import UserError
from tune_spaces.core.methods import method_parameter_names
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.settings import MISSING, configured, own_value


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

    def parameter_called(self, key: str) -> str:
        """The name of the parameter that a user calls `key`.

        Raises:
            UserError: there is none.
        """
        names = {own.key: name for name, own in self.parameters.items() if own.key}
        names |= {name: name for name in self.parameters}
        if key not in names:
            raise UserError(f"no parameter {key!r} to fix; {valid_names(key, names)}")
        return names[key]

    def check_conditions(self, base: RunConfig) -> None:
        """Raises:
        UserError: a `when` names what is neither a parameter nor a key of the recipe.
        """
        methods = [*method_parameter_names("sampling", base), *method_parameter_names("combination", base)]
        for own in self.parameters.values():
            for name in own.when:
                if name not in self.parameters and name not in methods and own_value(base, name) is MISSING:
                    valid = valid_names(name, self.parameters)
                    raise UserError(
                        f"parameter {own.name}: when names {name!r}, which is no parameter and no key; {valid}"
                    )


def ordered(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The parameters, checked, in their own order as far as `when` allows.

    Raises:
        UserError: a range is none, conditions go in a circle, or one names a value that a choice does not have.
    """
    done: dict[str, Parameter] = {}
    for own in parameters.values():
        own.check()
        _check_chosen(own, parameters)
    while len(done) < len(parameters):
        ready = [
            own
            for name, own in parameters.items()
            if name not in done and all(other in done or other not in parameters for other in own.when)
        ]
        if not ready:
            rest = ", ".join(name for name in parameters if name not in done)
            raise UserError(f"the conditions (when) of {rest} go in a circle")
        done |= {own.name: own for own in ready}
    return done


def _check_chosen(own: Parameter, parameters: Mapping[str, Parameter]) -> None:
    for other, values in own.when.items():
        if not values:
            raise UserError(f"parameter {own.name}: when.{other} has no values")
        if other not in parameters or parameters[other].kind != "choice":
            continue
        for value in values:
            if not parameters[other].contains(value):
                names = map(str, parameters[other].values or ())
                raise UserError(
                    f"parameter {own.name}: when.{other} names {value!r}, which is never chosen; {valid_names(value, names)}"
                )
