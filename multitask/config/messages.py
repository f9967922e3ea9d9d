"""What is wrong with a config, in one line each."""

import difflib
import types
import typing
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ValidationError

from multitask.config.run import RunConfig


def error_lines(error: ValidationError) -> list[str]:
    """One line for each thing refused: the dotted key as the user wrote it, the rule and the value."""
    return [_describe(e) for e in _own_errors(error)]


def valid_names(given: object, names: Iterable[str]) -> str:
    """`valid: …`, and the name closest to `given`."""
    names = list(names)
    close = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    return f"valid: {', '.join(names)}" + (f"; did you mean {close[0]!r}?" if close else "")


def _own_errors(error: ValidationError) -> list[Mapping]:
    """Without "too short" of a list whose items were refused: they are told themselves."""
    errors: list[Mapping] = list(error.errors())
    places = [e["loc"] for e in errors]

    def echoes(e: Mapping) -> bool:
        return e["type"] == "too_short" and any(p != e["loc"] and p[: len(e["loc"])] == e["loc"] for p in places)

    return [e for e in errors if not echoes(e)]


def _describe(error: Mapping) -> str:
    keys = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        parent, valid = _fields(error["loc"][:-1])
        return f"unknown key {'.'.join([*parent, keys[-1]])!r}; {valid_names(keys[-1], valid)}"
    if error["type"] == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in error["ctx"]["expected_tags"].split(",")]
        return f"{'.'.join(_visible(error['loc']))}.name: unknown {error['ctx']['tag']!r}; {valid_names(error['ctx']['tag'], tags)}"
    where = ".".join(_visible(error["loc"]))
    if error["type"] == "union_tag_not_found":
        return f"{where}.name is missing"
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{where}: must be a mapping of keys to values, got {error['input']!r}"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    got = (
        ""
        if error["type"] in ("value_error", "missing") or isinstance(error["input"], dict)
        else f", got {error['input']!r}"
    )
    return f"{where}: {message}{got}" if where else f"{message}{got}"


def _visible(loc: tuple) -> list[str]:
    """The path as the user wrote it: without the union tags that pydantic inserts."""
    return _fields(loc)[0]


def _fields(loc: tuple) -> tuple[list[str], list[str]]:
    """Walk the models along `loc`; give the visible path and the keys that are valid at its end."""
    model: object = RunConfig
    path: list[str] = []
    for part in loc:
        options = config_models(model)
        tagged = [m for m in options if part in (choice_name(m), getattr(m, "TAG", None))]
        if len(options) > 1 and tagged:
            model = tagged[0]
            continue
        path.append(str(part))
        field = options[0].model_fields.get(str(part)) if options else None
        model = field.annotation if field else _element(model)
    options = config_models(model)
    return path, list(options[0].model_fields) if options else []


def choice_name(model: type[BaseModel]) -> object:
    """What `name` says where `model` is one of several choices; `PydanticUndefined` where it takes more than one name."""
    return model.model_fields["name"].default if "name" in model.model_fields else None


def config_models(annotation: object) -> list[type[BaseModel]]:
    """The models that a field of this type may hold: none, one, or the choices of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return [model for part in typing.get_args(annotation) for model in config_models(part)]
    return []


def _element(annotation: object) -> object:
    """What a dict or tuple of this type holds."""
    arguments = [a for a in typing.get_args(annotation) if a not in (Ellipsis, type(None))]
    return arguments[-1] if arguments else None
