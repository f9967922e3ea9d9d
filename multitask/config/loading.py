"""YAML recipes, overlays, and `key.path=value` overrides."""

import copy
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from multitask.config.base import without_nulls
from multitask.config.messages import parse_values, valid_names
from multitask.config.overrides import merge, set_values
from multitask.config.renamed import with_present_names
from multitask.config.run import RunConfig
from multitask.config.yaml_text import read_mapping, read_value
from multitask.errors import UserError

RECIPES = Path(__file__).parents[1] / "recipes"
OVERLAYS = RECIPES / "overlays"
# The name of a shipped recipe, a file, or its keys; from the command line always one of the first two.
Recipe = str | Path | Mapping | RunConfig
# `key.path=value` and `+OVERLAY` in order, or dotted keys to values.
Overrides = Iterable[str] | Mapping[str, object]


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
    """Read a recipe, lay overlays over it, apply `key.path=value` overrides, and validate the whole.

    A recipe that says `extends: OTHER` starts from that one (a path relative to its own file or to the shipped recipes, or a shipped name);
    mappings are merged key by key, everything else is replaced (`multitask.config.overrides`). An override `+NAME` lays the shipped overlay NAME
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


def read_recipe(recipe: Recipe) -> dict[str, Any]:
    """The keys of `recipe` over those of what it extends; nothing is validated. It is named like its file if it says no name."""
    if isinstance(recipe, RunConfig):
        return recipe.to_dict()
    if isinstance(recipe, Mapping):
        own = copy.deepcopy(dict(recipe))
        base = own.pop("extends", None)
        return own if base is None else merge(read_recipe(str(base)), own)
    path = find_recipe(str(recipe))
    tree: dict = {"name": path.stem}
    for _, own in _chain(path, ()):
        tree = merge(tree, own)
    return tree


def override_config(config: RunConfig, overrides: Overrides) -> RunConfig:
    """`config` with overlays and `key.path=value` changes, as in `load_recipe`."""
    return parse_config(_override(config.to_dict(), override_texts(overrides)), "override")


def change_config(config: RunConfig, changes: Mapping[str, object], source: str) -> RunConfig:
    """`config` with the values of `changes` at their dotted keys; errors name `source`."""
    tree = config.to_dict()
    set_values(tree, changes.items())
    return parse_config(tree, source)


def parse_config(tree: Mapping, source: str) -> RunConfig:
    """Validate plain values from `source`; every error is one line that names the key and the valid ones."""
    return parse_values(RunConfig, tree, source)


def parse_written(tree: Mapping, source: str) -> RunConfig:
    """As `parse_config`, of what a run wrote: an older version's names are read as this one's."""
    return parse_values(RunConfig, with_present_names(tree), source)


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


def _override(tree: dict, overrides: list[str]) -> dict:
    for overlay in (o[1:] for o in overrides if o.startswith("+")):
        path = _find_overlay(overlay)
        change = read_mapping(path)
        if isinstance(tasks := change.get("tasks"), dict):
            own_tasks = without_nulls(tree.get("tasks") or {})
            change["tasks"] = {task: own for task, own in tasks.items() if task in own_tasks}
        named = {"name": f"{tree['name']}-{path.stem}"} if "name" in tree else {}
        tree = merge(tree, change | named)
    set_values(tree, (_read(override) for override in overrides if not override.startswith("+")))
    return tree


def _read(override: str) -> tuple[str, object]:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"an override is key.path=value, got {override!r}")
    return path, read_value(text)


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
