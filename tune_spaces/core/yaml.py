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

No sample is tried for which all that one line of `exclude` says holds. A parameter is named by a dotted key of the config, or by
the name that shipped spaces give to what they search. Both ends of `randint` and `lograndint` belong to the range.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    field_validator,
    model_validator,
)

from multitask.config import RunConfig
from multitask.config.base import Config
from multitask.config.messages import parse_values, valid_names
from multitask.config.yaml_text import read_mapping
from multitask.errors import UserError
from tune_spaces.core.definition import Definition
from tune_spaces.core.methods import is_of_method, method_parameter_names
from tune_spaces.core.parameter import SCALARS, Parameter

KINDS = ("uniform", "loguniform", "randint", "lograndint", "choice")


def _number(given: object) -> int | float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ValueError(f"must be a finite number, got {given!r}")
    return given


def _whole(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise ValueError(f"must be a whole number, got {given!r}")
    return given


def _scalar(given: object) -> object:
    if not isinstance(given, SCALARS):
        raise ValueError(f"must be a text, a number, true, false or null, got {given!r}")
    return given


def _listed(given: object) -> list | tuple:
    """One value is a list of one."""
    return given if isinstance(given, list | tuple) else [given]


def _scalars(given: object) -> object:
    for own in _listed(given):
        _scalar(own)
    return given


def _pair(given: object) -> object:
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise ValueError(f"must be [LOW, HIGH], got {given!r}")
    return given


def _ascending(ends: tuple) -> tuple:
    if ends[0] >= ends[1]:
        raise ValueError(f"the first must be below the second, got {list(ends)}")
    return ends


def _positive(ends: tuple) -> tuple:
    if ends[0] <= 0:
        raise ValueError(f"both must be above 0, got {list(ends)}")
    return ends


# A number is kept as it is written: 1 and 1.0 are two identities of a space.
Number = Annotated[int | float, PlainValidator(_number)]
Whole = Annotated[int, PlainValidator(_whole)]
Scalar = Annotated[str | bool | int | float | None, PlainValidator(_scalar)]
Ends = Annotated[tuple[Number, Number], BeforeValidator(_pair), AfterValidator(_ascending)]
WholeEnds = Annotated[tuple[Whole, Whole], BeforeValidator(_pair), AfterValidator(_ascending)]


class SearchedRange(Config):
    """One range, and in `when` the parameters to their values at which it is searched."""

    uniform: Ends | None = None
    loguniform: Annotated[Ends, AfterValidator(_positive)] | None = None
    randint: WholeEnds | None = None
    lograndint: Annotated[WholeEnds, AfterValidator(_positive)] | None = None
    choice: tuple[Scalar, ...] | None = None
    when: dict[str, Annotated[tuple[Scalar, ...], BeforeValidator(_listed)]] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            raise ValueError(f"must be a range such as {{uniform: [0, 0.5]}}; valid: {', '.join(KINDS)}; got {given!r}")
        return given

    @model_validator(mode="after")
    def _has_one_kind(self) -> "SearchedRange":
        if len(self._kinds()) != 1:
            raise ValueError(f"give one of {', '.join(KINDS)}, got {', '.join(self._kinds()) or 'none'}")
        return self

    def _kinds(self) -> list[str]:
        return [kind for kind in KINDS if getattr(self, kind) is not None]

    def parameter(self, name: str) -> Parameter:
        """The parameter of this range."""
        from ray import tune

        [kind] = self._kinds()
        if kind == "choice":
            return Parameter(name, tune.choice(list(self.choice or ())), self.when)
        low, high = getattr(self, kind)
        return Parameter(name, getattr(tune, kind)(low, high + 1 if kind.endswith("randint") else high), self.when)


class Between(Config):
    """Numbers above `above` and below `below`."""

    above: Number | None = None
    below: Number | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> "Between":
        if self.above is None and self.below is None:
            raise ValueError("must be {above: A, below: B}, or one of the two")
        return self


def _condition(given: object) -> str:
    return "between" if isinstance(given, Mapping | Between) else "values"


# Values are kept as they are written, one or a list: the identity of a space has them so.
Values = Annotated[Any, AfterValidator(_scalars)]
Condition = Annotated[Annotated[Between, Tag("between")] | Annotated[Values, Tag("values")], Discriminator(_condition)]


class SpaceFile(Config):
    """The keys of the file."""

    about: str = ""
    parameters: dict[str, SearchedRange] = Field(min_length=1)
    points: tuple[dict[str, Any], ...] = ()
    exclude: tuple[Annotated[dict[str, Condition], Field(min_length=1)], ...] = ()
    mutable: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()

    @field_validator("about", "points", "exclude", "mutable", mode="before")
    @classmethod
    def _empty_says_nothing(cls, given: object, info: Any) -> object:
        return cls.model_fields[info.field_name].default if given is None else given

    @model_validator(mode="after")
    def _names_are_parameters(self) -> "SpaceFile":
        named = [("mutable", self.mutable)]
        for key in ("points", "exclude"):
            named += [(f"{key}.{index}", tuple(own)) for index, own in enumerate(getattr(self, key))]
        for where, names in named:
            for name in names:
                if name not in self.parameters:
                    raise ValueError(f"{where}: no parameter {name!r}; {valid_names(name, self.parameters)}")
        return self

    @model_validator(mode="after")
    def _excludes_what_could_be(self) -> "SpaceFile":
        for index, conditions in enumerate(self.exclude):
            for name, wanted in conditions.items():
                own, where = self.parameters[name].parameter(name), f"exclude.{index}.{name}"
                if isinstance(wanted, Between):
                    if own.kind == "choice":
                        raise ValueError(f"{where}: must be one or several of a choice's values, got above or below")
                    continue
                for value in _listed(wanted):
                    if not own.contains(value):
                        raise ValueError(f"{where}: must be {own}, got {value!r}")
        return self

    def allows(self, base: RunConfig, values: Mapping[str, Any]) -> bool:
        """Whether no line of `exclude` leaves these values out; a parameter that is not active meets no condition."""
        return not any(
            all(name in values and _meets(values[name], wanted) for name, wanted in conditions.items())
            for conditions in self.exclude
        )

    def constraints(self) -> tuple[dict[str, Any], ...]:
        """`exclude` as plain JSON."""
        return tuple(
            {n: own.model_dump(exclude_none=True) if isinstance(own, Between) else own for n, own in conditions.items()}
            for conditions in self.exclude
        )


def _meets(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Between):
        return (wanted.above is None or value > wanted.above) and (wanted.below is None or value < wanted.below)
    return any(value == own and isinstance(value, bool) is isinstance(own, bool) for own in _listed(wanted))


def read_space(path: str, base: RunConfig) -> Definition:
    """The space that the file `path` describes.

    Raises:
        UserError: there is no such file, or something in it is not as it should be; the message names file and key.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"there is no space file {path}")
    own = parse_values(SpaceFile, read_mapping(file), path)
    _check_methods(path, own.parameters, base)
    return Definition(
        name=file.stem,
        spec=path,
        about=own.about,
        parameters={name: searched.parameter(name) for name, searched in own.parameters.items()},
        allowed=own.allows,
        constraints=own.constraints(),
        points=own.points,
        mutable=own.mutable,
    )


def _check_methods(path: str, names: Iterable[str], base: RunConfig) -> None:
    """Each `sampling.…` and `combination.…` is something that a method of this recipe has."""
    for name in names:
        for method in ("sampling", "combination"):
            valid = method_parameter_names(method, base)
            if is_of_method(method, name) and name not in valid:
                raise UserError(f"{path}: parameters.{name}: unknown; {valid_names(name, valid)}")
