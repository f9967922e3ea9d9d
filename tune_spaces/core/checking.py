"""A space whose samples cannot be trained is refused before anything starts."""

from typing import TYPE_CHECKING, Any

from multitask.config import RunConfig
from multitask.errors import UserError
from tune_spaces.core.space import Space

if TYPE_CHECKING:
    import numpy as np

_TRIES = 16


def check_space(space: Space, base: RunConfig) -> None:
    """Try every point, and every value of every choice and both ends of whole numbers, with several draws of all else.

    Raises:
        UserError: a point, a value or a parameter can never be trained, with the reason.
    """
    import numpy as np

    for point in space.points:
        try:
            space.config(base, point)
        except UserError as error:
            reason = _reason(space, error)
            raise UserError(f"space {space.spec}: points: one to try first cannot be trained: {reason}") from None
    generator = np.random.default_rng(0)
    _try(space, base, generator, {}, f"space {space.spec}: no sample can be trained")
    for name, own in space.parameters.items():
        held: list[dict[str, Any]] = [{}]
        if own.kind == "choice":
            held = [{name: value} for value in own.values or ()]
        elif own.kind == "int":
            held = [{name: own.low}, {name: own.high}]
        for one in held:
            what = f"{name}={one[name]}" if one else name
            _try(space, base, generator, one, f"space {space.spec}: {what} can never be trained", name)


def _try(
    space: Space,
    base: RunConfig,
    generator: "np.random.Generator",
    held: dict[str, Any],
    subject: str,
    wanted: str | None = None,
) -> None:
    """Draw until a sample, in which `wanted` is active, is valid."""
    reason = None
    for _ in range(_TRIES):
        conditions = _conditions(space, wanted, generator) if wanted else {}
        sample = space.draw_any(generator, {**conditions, **held})
        if wanted is not None and wanted not in sample:
            reason = reason or "its conditions (when) never hold"
            continue
        try:
            space.config(base, sample)
            return
        except UserError as error:
            reason = _reason(space, error)
    raise UserError(f"{subject}: {reason}")


def _reason(space: Space, error: UserError) -> str:
    return str(error).removeprefix(f"space {space.spec}: ")


def _conditions(space: Space, name: str, generator: "np.random.Generator") -> dict[str, Any]:
    """Values of other parameters with which `name` is active."""
    held: dict[str, Any] = {}
    for other, values in space.parameters[name].when.items():
        if other in space.parameters:
            possible = [value for value in values if space.parameters[other].contains(value)]
            held |= _conditions(space, other, generator)
            if possible:
                held[other] = possible[int(generator.integers(len(possible)))]
    return held
