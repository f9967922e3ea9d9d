"""YAML recipes, `key.path=value` overrides, and errors in one line each."""

import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from multitask.config.run import RunConfig
from multitask.errors import UserError

RECIPES = Path(__file__).parents[1] / "recipes"
_CHOICES = ("kind", "pair_encoding", "sampling", "combination", "optimizer")


def list_recipes() -> list[str]:
    """Names of the recipes that the project ships."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def find_recipe(recipe: str) -> Path:
    """The file of `recipe`: a path, or the name of a shipped one."""
    path = Path(recipe).expanduser()
    if path.suffix in (".yaml", ".yml") or "/" in recipe:
        if path.is_file():
            return path
        raise UserError(f"there is no recipe file {recipe}")
    if (RECIPES / f"{recipe}.yaml").is_file():
        return RECIPES / f"{recipe}.yaml"
    raise UserError(f"there is no recipe {recipe!r}; {_valid(recipe, list_recipes())}")


def load_recipe(recipe: str, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a recipe, apply `key.path=value` overrides in order, and validate the whole.

    A recipe that says `extends: OTHER` starts from that one (a path relative to its own file, or a shipped name);
    mappings are merged key by key, everything else is replaced.
    """
    path = find_recipe(recipe)
    tree = _read(path, ())
    tree.setdefault("name", path.stem)
    for override in overrides:
        _apply(tree, override)
    return parse_config(tree, str(path))


def override_config(config: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """`config` with `key.path=value` changes."""
    tree = config.to_dict()
    for override in overrides:
        _apply(tree, override)
    return parse_config(tree, "override")


def parse_config(tree: Mapping, source: str) -> RunConfig:
    """Validate plain values from `source`; every error is one line that names the key and the valid ones."""
    try:
        return RunConfig.model_validate(dict(tree))
    except ValidationError as error:
        raise UserError("\n".join(f"{source}: {_describe(e)}" for e in _own_errors(error))) from None


def _read(path: Path, seen: tuple[Path, ...]) -> dict:
    if path.resolve() in seen:
        raise UserError(f"{path}: extends goes in a circle")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys to values")
    base = tree.pop("extends", None)
    if base is None:
        return tree
    beside = path.parent / str(base)
    return _merge(_read(beside if beside.is_file() else find_recipe(str(base)), (*seen, path.resolve())), tree)


def _merge(base: dict, change: dict) -> dict:
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            # Another choice has other parameters: the old one's must not linger.
            other_choice = key in _CHOICES and value.get("name", old.get("name")) != old.get("name")
            merged[key] = value if other_choice else _merge(old, value)
        else:
            merged[key] = value
    return merged


def _apply(tree: dict, override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"an override is key.path=value, got {override!r}")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise UserError(f"{override!r}: the value is not valid YAML") from None
    *parents, last = path.split(".")
    node: dict | list = tree
    for depth, key in enumerate(parents):
        node = _child(node, key, ".".join(parents[: depth + 1]))
    if isinstance(node, list):
        node[_index(node, last, path)] = value
    elif last == "name" and parents and parents[-1] in _CHOICES and node.get("name") != value:
        node.clear()
        node["name"] = value
    else:
        node[last] = value


def _child(node: dict | list, key: str, path: str) -> dict | list:
    if isinstance(node, list):
        return node[_index(node, key, path)]
    child = node.setdefault(key, [{}] if key == "phases" else {})
    if not isinstance(child, dict | list):
        raise UserError(f"{path} is {child!r}, it has no keys below it")
    return child


def _index(node: list, key: str, path: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise UserError(f"{path}: {key!r} is no position in a list of {len(node)} (0 … {len(node) - 1})")
    return int(key)


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-5 is a number, as people write it."""


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_FLOAT = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
for _first in "-+0123456789.":
    _Loader.yaml_implicit_resolvers.setdefault(_first, []).insert(0, ("tag:yaml.org,2002:float", _FLOAT))


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
        return f"unknown key {'.'.join([*parent, keys[-1]])!r}; {_valid(keys[-1], valid)}"
    if error["type"] == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in error["ctx"]["expected_tags"].split(",")]
        return f"{'.'.join(_visible(error['loc']))}.name: unknown {error['ctx']['tag']!r}; {_valid(error['ctx']['tag'], tags)}"
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
        options = _models(model)
        tagged = [m for m in options if "name" in m.model_fields and m.model_fields["name"].default == part]
        if len(options) > 1 and tagged:
            model = tagged[0]
            continue
        path.append(str(part))
        field = options[0].model_fields.get(str(part)) if options else None
        model = field.annotation if field else _element(model)
    options = _models(model)
    return path, list(options[0].model_fields) if options else []


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return [model for part in typing.get_args(annotation) for model in _models(part)]
    return []


def _element(annotation: object) -> object:
    """What a dict or tuple of this type holds."""
    arguments = [a for a in typing.get_args(annotation) if a not in (Ellipsis, type(None))]
    return arguments[-1] if arguments else None


def _valid(given: str, names: Iterable[str]) -> str:
    names = list(names)
    close = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    return f"valid: {', '.join(names)}" + (f"; did you mean {close[0]!r}?" if close else "")
