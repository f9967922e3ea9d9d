"""A space as the definition of a W&B sweep."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cluster.sweeps.create import open_search
from cluster.tracking.wandb_sweep import sweep_definition
from multitask.errors import UserError
from tune_spaces import open_space


def make_definition(recipe: str, changes: Sequence[str], spec: str, method: str) -> tuple[dict[str, Any], str]:
    """What `sweep.yaml` holds, and the W&B project of the recipe.

    Raises:
        UserError: there is no such recipe, space or method, or a change is not right.
    """
    search = open_search(recipe, changes, spec)
    definition = sweep_definition(search.space, recipe, spec, method=method)
    every = open_space(spec, search.base).parameters
    held = {key for name in search.fixed for key in (name, every[name].key)}
    rest = [change for change in changes if change.partition("=")[0] not in held]
    # A name of its own for every run: the same name would go on with the run before it.
    name = f"name={search.base.name}-${{envvar:WANDB_RUN_ID}}"
    place = definition["command"].index(recipe) + 1
    definition["command"][place:place] = [name, *rest]
    return definition, search.base.tracking.project


def write_definition(definition: dict[str, Any], output: Path) -> None:
    """Write `sweep.yaml`.

    Raises:
        UserError: it cannot be written.
    """
    try:
        output.write_text(yaml.safe_dump(definition, sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise UserError(f"--output: {output} cannot be written: {error.strerror}") from None
