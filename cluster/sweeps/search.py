"""What a sweep searches: a recipe, and the space of settings around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.launch.absolute_paths import absolute
from cluster.sweeps.records import Sweep
from cluster.sweeps.sweep_place import recipe_config
from multitask.config import Recipe, RunConfig, load_recipe
from multitask.config.yaml_text import read_value
from multitask.errors import UserError
from tune_spaces import Space, check_space, open_space


@dataclass(frozen=True)
class Search:
    """What a sweep searches: the recipe with the user's changes, and the space around it."""

    recipe: str
    base: RunConfig
    space: Space
    spec: str
    fixed: dict[str, Any]


def open_search(recipe: Recipe, changes: Sequence[str], spec: str) -> Search:
    """The recipe and the space of a new sweep. A change that names a parameter of the space fixes it there.

    Raises:
        UserError: recipe, space or a change is not right, or no sample of the space can be trained.
    """
    plain = load_recipe(recipe, [change for change in changes if change.startswith("+")])
    names = parameter_names(open_space(spec, plain))
    fixed = [change for change in changes if change.partition("=")[0] in names]
    base = absolute(_recipe_with(recipe, [change for change in changes if change not in fixed], fixed, names))
    values = {names[key]: read_value(text) for key, _, text in (change.partition("=") for change in fixed)}
    space = open_space(spec, base, values)
    check_space(space, base)
    return Search(str(recipe) if isinstance(recipe, str | Path) else base.name, base, space, spec, values)


def _recipe_with(recipe: Recipe, changes: list[str], fixed: list[str], names: dict[str, str]) -> RunConfig:
    """The recipe, also with the fixed values of the parameters that are keys of it, so that trial 0 has them, too.

    Where it cannot be trained with them as they stand, the space may make it so; then trial 0 is the recipe without.
    """
    keys = {name: key for key, name in names.items() if key != name}
    as_keys = [f"{keys.get(key, key)}={text}" for key, _, text in (change.partition("=") for change in fixed)]
    plain = load_recipe(recipe, changes)
    try:
        return load_recipe(recipe, [*changes, *as_keys])
    except UserError:
        return plain


def parameter_names(space: Space) -> dict[str, str]:
    """What a change may call a parameter: its name, or the key that it stands for."""
    names = {name: name for name in space.parameters}
    return names | {p.key: name for name, p in space.parameters.items() if p.key is not None}


def reopen_search(sweep: Sweep) -> Search:
    """The recipe and the space of an old sweep, as its folder holds them.

    Raises:
        UserError: the space means something else by now.
    """
    base = recipe_config(sweep)
    space = open_space(sweep.space["spec"], base, sweep.space["fixed"])
    if space.describe()["identity"] != sweep.space["identity"]:
        raise UserError(
            f"sweep {sweep.name}: the space {sweep.space['spec']} is not what it was when the sweep began; "
            "begin another sweep with --name"
        )
    return Search(sweep.recipe, base, space, sweep.space["spec"], sweep.space["fixed"])
