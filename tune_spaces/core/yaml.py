"""A space in YAML, for users who write no Python.

    about: Which rank and rate suit LoRA?
    parameters:
      optimizer.lr: {loguniform: [1e-5, 1e-2]}
      encoder.adapter.rank: {choice: [4, 8, 16]}
      sampling.name: {choice: [round_robin, annealed]}
      sampling.annealed.start: {uniform: [0.5, 1], when: {sampling.name: [annealed]}}
    points:
      - {optimizer.lr: 1e-3, encoder.adapter.rank: 8, sampling.name: round_robin}
    exclude:
      - {optimizer.lr: {above: 5e-3}, encoder.adapter.rank: [8, 16]}
    mutable: [optimizer.lr]

No sample is tried for which all that one line of `exclude` says holds. A parameter is named by a dotted key of the config, or by the name that shipped spaces give to what they search. Both ends of
`randint` and `lograndint` belong to the range.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from multitask.config import RunConfig
from multitask.config.loading import read_value
from multitask.config.messages import valid_names
from multitask.errors import UserError
from tune_spaces.core.definition import Definition
from tune_spaces.core.exclusions import Allowed, read_exclusions
from tune_spaces.core.methods import method_parameter_names
from tune_spaces.core.parameter import SCALARS, Parameter

if TYPE_CHECKING:
    from ray.tune.search.sample import Domain

KEYS = ("about", "parameters", "points", "exclude", "mutable")
KINDS = ("uniform", "loguniform", "randint", "lograndint", "choice")


def read_space(path: str, base: RunConfig) -> Definition:
    """The space that the file `path` describes.

    Raises:
        UserError: there is no such file, or something in it is not as it should be; the message names file and key.
    """
    tree = _tree(path)
    _known(f"{path}:", tree, KEYS)
    parameters = _mapping(f"{path}: parameters", tree.get("parameters"))
    if not parameters:
        raise UserError(f"{path}: parameters: names of parameters to their ranges are missing")
    read = {str(name): _parameter(path, str(name), own, base) for name, own in parameters.items()}
    points = tree.get("points") or []
    if not isinstance(points, list):
        raise UserError(f"{path}: points must be a list of samples, got {points!r}")
    mutable = tree.get("mutable") or []
    for name in mutable if isinstance(mutable, list) else [mutable]:
        if name not in read:
            raise UserError(f"{path}: mutable: no parameter {name!r}; {valid_names(name, read)}")
    exclusions = read_exclusions(path, tree.get("exclude") or [], read)
    return Definition(
        name=Path(path).stem,
        spec=path,
        about=str(tree.get("about", "")),
        parameters=read,
        allowed=Allowed(exclusions),
        constraints=tuple(dict(own.conditions) for own in exclusions),
        points=tuple(_point(path, index, point, read) for index, point in enumerate(points)),
        mutable=tuple(mutable),
    )


def _tree(path: str) -> dict[str, Any]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"there is no space file {path}")
    try:
        tree = read_value(file.read_text(encoding="utf-8"))
    except (UserError, UnicodeDecodeError):
        raise UserError(f"{path}: not valid YAML{_place(file)}") from None
    return _mapping(path, tree)


def _place(file: Path) -> str:
    """Where a YAML file cannot be read."""
    try:
        yaml.safe_load(file.read_bytes())
    except yaml.MarkedYAMLError as error:
        return f": {error.problem} in line {error.problem_mark.line + 1}" if error.problem_mark else ""
    except yaml.YAMLError:
        return ""
    return ""


def _parameter(path: str, name: str, given: object, base: RunConfig) -> Parameter:
    where = f"{path}: parameters.{name}"
    own = _mapping(where, given, f"a range such as {{uniform: [0, 0.5]}}; valid: {', '.join(KINDS)}")
    kinds = [key for key in own if key != "when"]
    _known(f"{where}:", dict.fromkeys(kinds), KINDS)
    if len(kinds) != 1:
        raise UserError(f"{where}: give one of {', '.join(KINDS)}, got {', '.join(kinds) or 'none'}")
    kind = kinds[0]
    for method in ("sampling", "combination"):
        if name.startswith(f"{method}."):
            valid = method_parameter_names(method, base)
            if name not in valid:
                raise UserError(f"{where}: unknown; {valid_names(name, valid)}")
    when = _mapping(f"{where}.when", own.get("when", {}), "parameters to lists of their values")
    conditions = {str(key): tuple(v) if isinstance(v, list) else (v,) for key, v in when.items()}
    return Parameter(name, _domain(f"{where}.{kind}", kind, own[kind]), conditions)


def _domain(where: str, kind: str, given: object) -> "Domain":
    from ray import tune

    if kind == "choice":
        if not isinstance(given, list) or not given or not all(isinstance(value, SCALARS) for value in given):
            raise UserError(f"{where} must be a list of texts, numbers, true, false or null, got {given!r}")
        return tune.choice(given)
    whole = kind.endswith("randint")
    if not isinstance(given, list) or len(given) != 2 or not all(_is_end(end, whole) for end in given):
        raise UserError(f"{where} must be [LOW, HIGH]{' in whole numbers' if whole else ''}, got {given!r}")
    low, high = given
    if low >= high or ("log" in kind and low <= 0):
        raise UserError(f"{where}: LOW must be below HIGH{' and above 0' if 'log' in kind else ''}, got {given!r}")
    domain: Domain = getattr(tune, kind)(low, high + 1 if whole else high)
    return domain


def _is_end(given: object, whole: bool) -> bool:
    number = isinstance(given, int if whole else int | float) and not isinstance(given, bool)
    return number and math.isfinite(given)  # type: ignore[arg-type]


def _point(path: str, index: int, given: object, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    point = _mapping(f"{path}: points.{index}", given, "names of parameters to values")
    _known(f"{path}: points.{index}:", point, parameters)
    return point


def _mapping(where: str, given: object, wanted: str = "a mapping of keys to values") -> dict[str, Any]:
    if not isinstance(given, dict):
        raise UserError(f"{where}: must be {wanted}, got {given!r}")
    return given


def _known(where: str, given: Mapping[str, Any], valid: Any) -> None:
    for key in given:
        if key not in valid:
            raise UserError(f"{where} unknown key {key!r}; {valid_names(key, valid)}")
