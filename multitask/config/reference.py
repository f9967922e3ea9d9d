"""Every key of a recipe with type, default and meaning, from the models: `python -m multitask.config.reference`."""

import inspect
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from multitask.config.run import RunConfig
from multitask.config.schema import choice_name, config_models

_HEAD = """# Configuration

Written from the models by `make reference`; a test holds it current.

A recipe is a YAML file of these keys; on the command line a key is changed by `key.path=value`
(`concord train main optimizer.lr=1e-5 phases.0.epochs=3`). NAME is a task's name, N a phase's number from 0. A key whose
default is *needed* must be given. An unknown key or name is refused with the valid ones and the closest match.

Where a mapping has a `name`, that chooses one of several, each with keys of its own. Another name keeps the keys that mean the
same in both (`optimizer.name=lamb` keeps `optimizer.lr`) and forgets the rest. The order of changes does not matter: a part comes before its
keys, and a name before the rest. A key below a part that is off switches it on (`regularization.smart.weight=0.1`), a number is a
place in a list (`optimizer.betas.0=0.8`), and null takes a task, a file or an element of a list away
(`tasks.sts.files.test=null`). The same holds for a recipe that extends another, for overlays, for Python and for spaces.
"""
_PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "text", type(None): "null"}
_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_REPEATED = {"tasks": "tasks.NAME", "phases": "phases.N"}


@dataclass(frozen=True)
class Section:
    """The keys of `model` below `path`; `choice` is its `name` where it is one of several."""

    path: str
    model: type[BaseModel]
    choice: str | None = None


def reference() -> str:
    """The whole page as Markdown, the same text for the same models."""
    parts, heading = [_HEAD], ""
    for section in sections():
        title = f"`{section.path}`" if section.path else "The top level"
        if title != heading:
            parts.append(f"## {title}\n")
            heading = title
        if section.choice is not None:
            parts.append(f"### `name: {section.choice}`\n")
        parts.append(_about(section.model))
        parts.append(_table(section))
    return "\n".join(part for part in parts if part)


def sections() -> Iterator[Section]:
    """Every model of the config tree with its place, the top first, each followed by what lies below it."""
    yield from _below(Section("", RunConfig))


def keys(section: Section) -> Iterator[tuple[str, FieldInfo]]:
    """The full dotted key and the field of everything in `section` but the `name` that chose it."""
    for name, field in section.model.model_fields.items():
        if not (section.choice is not None and name == "name" and choice_name(section.model) == section.choice):
            yield f"{section.path}.{name}".removeprefix("."), field


def _below(section: Section) -> Iterator[Section]:
    yield section
    for path, field in keys(section):
        models = config_models(_held(field.annotation))
        if section.model in models:
            continue  # described where it first stands
        for model in models:
            name = choice_name(model)
            choice = (name if isinstance(name, str) else "any other") if len(models) > 1 else None
            yield from _below(Section(_REPEATED.get(path, path), model, choice))


def _held(annotation: object) -> object:
    """The type of a mapping's or list's elements; any other type itself."""
    if typing.get_origin(annotation) in (dict, tuple):
        return [a for a in typing.get_args(annotation) if a is not Ellipsis][-1]
    return annotation


def _about(model: type[BaseModel]) -> str:
    """The model's docstring, its paragraphs on one line each."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(model.__doc__ or ""))
    return "".join(f"{' '.join(paragraph.split())}\n\n" for paragraph in paragraphs)[:-1]


def _table(section: Section) -> str:
    rows = [(path, field) for path, field in keys(section)]
    if not rows:
        return ""
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for path, field in rows:
        cells = (f"`{path}`", _type_of(path, field, section.model), _default(field), field.description or "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _type_of(path: str, field: FieldInfo, model: type[BaseModel]) -> str:
    place = _REPEATED.get(path, path)
    if models := config_models(_held(field.annotation)):
        place = place.rpartition(".")[0] if model in models else place
        what = f"[`{place}`](#{anchor(place)})"
        origin = typing.get_origin(field.annotation)
        held = "mapping of names to " if origin is dict else "list of " if origin is tuple else ""
        name = ", by `name`" if len(models) > 1 else ""
        return held + what + name + (" or null" if type(None) in typing.get_args(field.annotation) else "")
    return _type_text(field.annotation, field.metadata)


def _type_text(annotation: object, metadata: Iterable[object] = ()) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_text(arguments[0], [*arguments[1:], *metadata])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_text(part, () if part is type(None) else metadata) for part in arguments)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return ",".join(part for part in (f"list of {_type_text(arguments[0])}", _bounds(metadata)) if part)
    if origin is tuple:
        return "list of " + " and ".join(_type_text(part) for part in arguments)
    if origin is dict:
        return f"mapping of {_type_text(arguments[0])} to {_type_text(arguments[1])}"
    return _PLAIN.get(annotation, "any value") + _bounds(metadata)  # type: ignore[call-overload]


def _bounds(metadata: Iterable[object]) -> str:
    """What pydantic's constraints say, those of nested fields too."""
    found: list[str] = []
    for item in metadata:
        for nested in item.metadata if isinstance(item, FieldInfo) else (item,):
            found += [f"{sign} {getattr(nested, name)}" for name, sign in _SIGNS.items() if hasattr(nested, name)]
            found += [f"{nested.min_length} or more"] if hasattr(nested, "min_length") else []
    return f" {', '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*needed*"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        name = getattr(default, "name", None)
        return f"`name: {name}`" if name else "its defaults"
    if isinstance(default, tuple) and any(isinstance(item, BaseModel) for item in default):
        return "one, with its defaults"
    if default in (None, ""):
        return "null" if default is None else "empty"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def anchor(heading: str) -> str:
    """The anchor that Markdown renderers give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    print(reference(), end="")
