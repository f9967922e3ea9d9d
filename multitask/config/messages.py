"""Plain values to a config; what is wrong with them, in one line each."""

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import BaseModel, Tag, ValidationError

from multitask.config.renamed import renamed_key, renamed_value
from multitask.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


def parse_values(model: type[Model], tree: Mapping, source: str) -> Model:
    """Validate plain values from `source`.

    Raises:
        UserError: one line for each thing refused: `source`, the dotted key as the user wrote it, the rule and the value.
    """
    try:
        return model.model_validate(dict(tree))
    except ValidationError as error:
        lines = [f"{source}: {_describe(own, model)}" for own in _own_errors(error)]
        raise UserError("\n".join(lines)) from None


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


def _describe(error: Mapping, root: type[BaseModel]) -> str:
    path, _ = _walk(error["loc"], root)
    where = ".".join(path)
    if error["type"] == "extra_forbidden":
        if new := renamed_key(where):
            return f"{where} is called {new} now"
        return f"unknown key {where!r}; {valid_names(path[-1], _walk(error['loc'][:-1], root)[1])}"
    if error["type"] == "union_tag_invalid":
        if new := renamed_value(f"{where}.name", error["ctx"]["tag"]):
            return f"{where}.name: {error['ctx']['tag']!r} is called {new!r} now"
        tags = [tag.strip(" '") for tag in error["ctx"]["expected_tags"].split(",")]
        return f"{where}.name: unknown {error['ctx']['tag']!r}; {valid_names(error['ctx']['tag'], tags)}"
    if error["type"] == "union_tag_not_found":
        return f"{where}.name is missing"
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{where}: must be a mapping of keys to values, got {error['input']!r}"
    if error["type"] in ("tuple_type", "list_type"):
        return f"{where}: must be a list, got {error['input']!r}"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    got = (
        ""
        if error["type"] in ("value_error", "missing") or isinstance(error["input"], dict)
        else f", got {error['input']!r}"
    )
    return f"{where}: {message}{got}" if where else f"{message}{got}"


def _walk(loc: tuple, root: type[BaseModel]) -> tuple[list[str], list[str]]:
    """The path `loc` as the user wrote it, without the union tags that pydantic inserts, and the keys valid at its end."""
    node: object = root
    path: list[str] = []
    for part in loc:
        options = _options(node)
        if len(options) > 1 and (tagged := [own for tag, own in options if tag == part]):
            node = tagged[0]
            continue
        path.append(str(part))
        models = config_models(node)
        field = models[0].model_fields.get(str(part)) if models else None
        node = field.annotation if field else _element(node)
    models = config_models(node)
    return path, list(models[0].model_fields) if models else []


def choice_name(model: type[BaseModel]) -> object:
    """What `name` says where `model` is one of several choices; `PydanticUndefined` where it takes more than one name."""
    return model.model_fields["name"].default if "name" in model.model_fields else None


def config_models(annotation: object) -> list[type[BaseModel]]:
    """The models that a field of this type may hold: none, one, or the choices of a union."""
    return [own for _, own in _options(annotation) if isinstance(own, type) and issubclass(own, BaseModel)]


def _options(annotation: object) -> list[tuple[object, object]]:
    """What a value of this type may be, each with the tag that stands for it in pydantic's paths."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *metadata = typing.get_args(annotation)
        tags = [own.tag for own in metadata if isinstance(own, Tag)]
        return [(tags[0], inner)] if tags else _options(inner)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [option for part in typing.get_args(annotation) for option in _options(part)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(choice_name(annotation), annotation)]
    return [(None, annotation)]


def _element(annotation: object) -> object:
    """What a dict or tuple of this type holds."""
    held = typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation
    arguments = [a for a in typing.get_args(held) if a not in (Ellipsis, type(None))]
    return arguments[-1] if arguments else None
