"""Parameters in an order in which each comes after those that it depends on."""

from collections.abc import Mapping

from multitask.config.messages import valid_names
from multitask.errors import UserError
from tune_spaces.core.parameter import Parameter


def ordered(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The parameters, checked, in their own order as far as `when` allows.

    Raises:
        UserError: a range is none, conditions go in a circle, or one names a value that a choice does not have.
    """
    done: dict[str, Parameter] = {}
    for own in parameters.values():
        own.check()
        _check_conditions(own, parameters)
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


def _check_conditions(own: Parameter, parameters: Mapping[str, Parameter]) -> None:
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
