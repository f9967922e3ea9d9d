"""Plain values to a config; what is wrong with them, in one line each."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from multitask.config.renamed import renamed_key, renamed_value
from multitask.config.schema import config_models, held, options
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
        lines = [f"{source}: {_describe(own, model, tree)}" for own in _own_errors(error)]
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


def _describe(error: Mapping, root: type[BaseModel], tree: Mapping) -> str:
    path, _ = _walk(error["loc"], root)
    where = ".".join(path)
    if error["type"] == "extra_forbidden":
        return _unknown_key(path, _walk(error["loc"][:-1], root)[1], tree)
    if error["type"] == "union_tag_invalid":
        given = error["ctx"]["tag"]
        names = [tag.strip(" '") for tag in error["ctx"]["expected_tags"].split(",")]
        if new := renamed_value(f"{where}.name", given):
            return f"{where}.name: {given!r} is called {new!r} now"
        return f"{where}.name: unknown {given!r}; {valid_names(given, names)}"
    if error["type"] == "union_tag_not_found":
        return f"{where}.name is missing"
    if error["type"] == "missing":
        return f"{where} is missing"
    rule = _rule(error)
    if path[-1:] == ["[key]"] or error["type"] == "invalid_key":
        above = ".".join(path[: -2 if path[-1] == "[key]" else -1])
        return f"{above}: a key {rule}" if above else f"a key {rule}"
    return f"{where}: {rule}" if where else rule


def _unknown_key(path: list[str], valid: list[str], tree: Mapping) -> str:
    where = ".".join(path)
    if new := renamed_key(where):
        return f"{where} is called {new} now"
    node: object = tree
    for part in path[:-1]:
        node = (
            node[int(part)] if isinstance(node, list | tuple) else node.get(part) if isinstance(node, Mapping) else None
        )
    name = node.get("name") if isinstance(node, Mapping) and "name" in valid and len(path) > 1 else None
    choice = f" where {'.'.join(path[:-1])}.name={name}" if name else ""
    return f"unknown key {where!r}{choice}; {valid_names(path[-1], valid)}"


# What to write, by the type of error that pydantic gives.
_MUST_BE = {
    "string_type": "text",
    "invalid_key": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of a usual size",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}


def _rule(error: Mapping) -> str:
    """What must be, and what was given."""
    kind, given = error["type"], error["input"]
    if kind == "value_error":
        told = _lower_first(error["msg"].removeprefix("Value error, "))
        return told.removesuffix(repr(given)) + shown(given) if told.endswith(f"got {given!r}") else told
    if kind in ("too_short", "too_long"):
        least = "at least" if kind == "too_short" else "at most"
        number = error["ctx"]["min_length" if kind == "too_short" else "max_length"]
        return f"must have {least} {number} {'element' if number == 1 else 'elements'}, got {error['ctx']['actual_length']}"
    rule = _MUST_BE.get(kind) or _lower_first(error["msg"]).removeprefix("input should be ")
    return f"must be {rule}, got {shown(given)}{_how_to_write(kind, given)}"


def _how_to_write(kind: str, given: object) -> str:
    if kind == "tuple_type" and isinstance(given, str | int | float) and not isinstance(given, bool):
        return f": write [{given}]"
    if kind in ("string_type", "invalid_key") and isinstance(given, bool | int | float):
        return f': quote it: "{shown(given)}"'
    return ""


def shown(value: object) -> str:
    """`value` as YAML has it, at most some 80 letters of it."""
    text = _plain(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _plain(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_plain(own)}' for key, own in value.items())}}}"
    return repr(value)


def _lower_first(text: str) -> str:
    return text[0].lower() + text[1:]


def _walk(loc: tuple, root: type[BaseModel]) -> tuple[list[str], list[str]]:
    """The path `loc` as the user wrote it, without the union tags that pydantic inserts, and the keys valid at its end."""
    node: object = root
    path: list[str] = []
    for part in loc:
        choices = options(node)
        if len(choices) > 1 and (tagged := [own for tag, own in choices if tag == part]):
            node = tagged[0]
            continue
        path.append(str(part))
        models = config_models(node)
        field = models[0].model_fields.get(str(part)) if models else None
        node = field.annotation if field else held(node)
    models = config_models(node)
    return path, list(models[0].model_fields) if models else []
