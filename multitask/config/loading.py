"""YAML recipes, overlays, and `key.path=value` overrides."""

import copy
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from multitask.config.messages import parse_values, valid_names
from multitask.config.renamed import with_present_names
from multitask.config.run import RunConfig
from multitask.errors import UserError

RECIPES = Path(__file__).parents[1] / "recipes"
OVERLAYS = RECIPES / "overlays"
# The name of a shipped recipe, a file, or its keys; from the command line always one of the first two.
Recipe = str | Path | Mapping | RunConfig
# `key.path=value` and `+OVERLAY` in order, or dotted keys to values.
Overrides = Iterable[str] | Mapping[str, object]
_CHOICES = ("kind", "pair_encoding", "head", "sampling", "combination", "optimizer", "adapter")


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
    raise UserError(f"there is no recipe {recipe!r}; {valid_names(recipe, list_recipes())}")


def recipe_files(recipe: str) -> tuple[Path, ...]:
    """The files that make `recipe`: what it extends, the furthest first, and its own at the end."""
    return tuple(path for path, _ in _chain(find_recipe(recipe), ()))


def load_recipe(recipe: Recipe, overrides: Overrides = ()) -> RunConfig:
    """Read a recipe, lay overlays over it, apply `key.path=value` overrides in order, and validate the whole.

    A recipe that says `extends: OTHER` starts from that one (a path relative to its own file or to the shipped recipes, or a shipped name);
    mappings are merged key by key, everything else is replaced. An override `+NAME` lays the shipped overlay NAME
    (`+sample`: the data that the package ships), or the YAML file NAME, over the recipe in the same way, before all
    other overrides; what it says of tasks that the recipe does not have is left out, and its name joins the run's.
    """
    source = "recipe" if isinstance(recipe, Mapping | RunConfig) else str(find_recipe(str(recipe)))
    return parse_config(_override(read_recipe(recipe), override_texts(overrides)), source)


def override_texts(overrides: Overrides) -> list[str]:
    """The overrides as on the command line; dotted keys with their values as `key.path=value`.

    Raises:
        UserError: they are one text.
    """
    if isinstance(overrides, str):
        raise UserError(f"overrides are a list of key.path=value, or a mapping of dotted keys, got {overrides!r}")
    if isinstance(overrides, Mapping):
        return [f"{key}={json.dumps(value, ensure_ascii=False, default=str)}" for key, value in overrides.items()]
    return list(overrides)


def read_recipe(recipe: Recipe) -> dict:
    """The keys of `recipe` over those of what it extends; nothing is validated. It is named like its file if it says no name."""
    if isinstance(recipe, RunConfig):
        return recipe.to_dict()
    if isinstance(recipe, Mapping):
        own = copy.deepcopy(dict(recipe))
        base = own.pop("extends", None)
        return own if base is None else _merge(read_recipe(str(base)), own)
    path = find_recipe(str(recipe))
    tree: dict = {"name": path.stem}
    for _, own in _chain(path, ()):
        tree = _merge(tree, own)
    return tree


def override_config(config: RunConfig, overrides: Overrides) -> RunConfig:
    """`config` with overlays and `key.path=value` changes, as in `load_recipe`."""
    return parse_config(_override(config.to_dict(), override_texts(overrides)), "override")


def change_config(config: RunConfig, changes: Mapping[str, object], source: str) -> RunConfig:
    """`config` with the values of `changes` at their dotted keys, in order; errors name `source`."""
    tree = config.to_dict()
    for path, value in changes.items():
        _set(tree, path, value)
    return parse_config(tree, source)


def read_value(text: str) -> object:
    """The value of `key.path=text`, as YAML reads it."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise UserError(f"{text!r} is not valid YAML") from None


def parse_config(tree: Mapping, source: str) -> RunConfig:
    """Validate plain values from `source`; every error is one line that names the key and the valid ones."""
    return parse_values(RunConfig, tree, source)


def parse_written(tree: Mapping, source: str) -> RunConfig:
    """As `parse_config`, of what a run wrote: an older version's names are read as this one's."""
    return parse_values(RunConfig, with_present_names(tree), source)


def read_mapping(path: Path) -> dict:
    """The keys and values of a YAML file."""
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: must be a mapping of keys to values")
    return tree


def _chain(path: Path, seen: tuple[Path, ...]) -> list[tuple[Path, dict]]:
    """File and own keys of all that `path` extends, and of itself at the end."""
    if path.resolve() in seen:
        raise UserError(f"{path}: extends goes in a circle")
    tree = read_mapping(path)
    base = tree.pop("extends", None)
    if base is None:
        return [(path, tree)]
    found = (place / str(base) for place in (path.parent, RECIPES) if (place / str(base)).is_file())
    try:
        start = next(found, None) or find_recipe(str(base))
    except UserError as error:
        raise UserError(f"{path}: extends: {error}") from None
    return [*_chain(start, (*seen, path.resolve())), (path, tree)]


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


def _override(tree: dict, overrides: list[str]) -> dict:
    for overlay in (o[1:] for o in overrides if o.startswith("+")):
        path = _find_overlay(overlay)
        change = read_mapping(path)
        if isinstance(tasks := change.get("tasks"), dict):
            change["tasks"] = {task: own for task, own in tasks.items() if task in tree.get("tasks", {})}
        named = {"name": f"{tree['name']}-{path.stem}"} if "name" in tree else {}
        tree = _merge(tree, change | named)
    for override in overrides:
        if not override.startswith("+"):
            _apply(tree, override)
    return tree


def _find_overlay(name: str) -> Path:
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise UserError(f"there is no overlay file {name}")
    if (OVERLAYS / f"{name}.yaml").is_file():
        return OVERLAYS / f"{name}.yaml"
    raise UserError(
        f"there is no overlay {name!r}; {valid_names(name, sorted(p.stem for p in OVERLAYS.glob('*.yaml')))}"
    )


def _apply(tree: dict, override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"an override is key.path=value, got {override!r}")
    _set(tree, path, read_value(text))


def _set(tree: dict, path: str, value: object) -> None:
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
