"""From what a user calls a space to the space."""

import importlib
import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from multitask.config import RunConfig
from multitask.config.messages import valid_names
from multitask.errors import UserError
from tune_spaces.core.definition import Definition, always
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.settings import configured, own_value
from tune_spaces.core.space import Space
from tune_spaces.core.yaml import read_space

SHIPPED = (
    "default",
    "learning_rate",
    "sampling",
    "combination",
    "encodings",
    "losses",
    "population",
    "paper_a_hyperparameters",
    "paper_b_optimizers",
)


def shipped_spaces() -> dict[str, str]:
    """Name of each space that the project ships to the question that it answers."""
    return {name: _first_line(importlib.import_module(f"tune_spaces.{name}")) for name in SHIPPED}


def open_space(spec: str, base: RunConfig, fixed: Mapping[str, Any] | None = None) -> Space:
    """The space `spec` around the recipe `base`: the name of a shipped one, FILE.yaml, or package.module:function.

    The function is one like `space` of a shipped module: it takes the recipe and gives names to Ray Tune domains or
    `Parameter`s. `to_config`, `allowed`, `own_value`, `points` or `POINTS`, and `MUTABLE` of its module are used if they are there.
    `fixed`: names or keys of parameters to the values that they are held at.

    Raises:
        UserError: there is no such space, it is not as it should be or has nothing to search in this recipe, or `fixed` names none of
            its parameters.
    """
    definition = _define(spec, base)
    try:
        definition.check_conditions(base)
        held = {definition.parameter_called(key): value for key, value in (fixed or {}).items()}
        space = Space(definition, base, held)
    except UserError as error:
        raise UserError(f"space {spec}: {error}") from None
    if not space.parameters:
        raise UserError(f"space {spec}: every parameter is fixed, so nothing is left to search")
    return space


def _define(spec: str, base: RunConfig) -> Definition:
    if spec.endswith((".yaml", ".yml")):
        return read_space(spec, base)
    if ":" in spec:
        path, _, attribute = spec.partition(":")
        return _from_module(spec, _import(path, spec), attribute, base)
    if spec not in SHIPPED:
        raise UserError(
            f"there is no space {spec!r}; {valid_names(spec, SHIPPED)}; or FILE.yaml, or package.module:function"
        )
    return _from_module(spec, importlib.import_module(f"tune_spaces.{spec}"), "space", base)


def _import(path: str, spec: str) -> ModuleType:
    """The module, also one that lies where the user is."""
    sys.path.append(os.getcwd())
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise
        raise UserError(f"space {spec}: there is no module {error.name!r}") from None
    except ValueError:
        raise UserError(f"space {spec}: a space is package.module:function") from None
    finally:
        sys.path.remove(os.getcwd())


def _from_module(spec: str, module: ModuleType, attribute: str, base: RunConfig) -> Definition:
    function = getattr(module, attribute, None)
    if not callable(function):
        names = [name for name, own in vars(module).items() if callable(own) and not name.startswith("_")]
        raise UserError(
            f"space {spec}: {module.__name__} has no function {attribute!r}; {valid_names(attribute, names)}"
        )
    given = function(base)
    if not isinstance(given, Mapping) or not given:
        raise UserError(f"space {spec}: {attribute} must give names of parameters to their ranges, got {given!r}")
    return Definition(
        name=attribute if attribute != "space" else module.__name__.rpartition(".")[2],
        spec=spec,
        about=_first_line(module),
        parameters={name: _parameter(spec, name, own) for name, own in given.items()},
        to_config=getattr(module, "to_config", configured),
        allowed=getattr(module, "allowed", always),
        own=getattr(module, "own_value", own_value),
        points=tuple(module.points(base) if hasattr(module, "points") else getattr(module, "POINTS", ())),
        mutable=tuple(getattr(module, "MUTABLE", ())),
    )


def _parameter(spec: str, name: str, given: Any) -> Parameter:
    if not isinstance(given, Parameter):
        return Parameter(name, given)
    if given.name != name:
        raise UserError(f"space {spec}: the parameter {name} calls itself {given.name}")
    return given


def _first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().partition("\n")[0]
