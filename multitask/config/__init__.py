"""One frozen tree of pydantic models, validated whole before anything starts."""

from multitask.config.files import SPLITS
from multitask.config.loading import (
    Overrides,
    Recipe,
    find_recipe,
    list_recipes,
    load_recipe,
    override_config,
    override_texts,
    parse_config,
    parse_written,
    read_recipe,
    recipe_files,
)
from multitask.config.run import RunConfig
from multitask.config.task import TaskConfig
from multitask.config.training import Precision

__all__ = [
    "SPLITS",
    "Overrides",
    "Precision",
    "Recipe",
    "RunConfig",
    "TaskConfig",
    "find_recipe",
    "list_recipes",
    "load_recipe",
    "override_config",
    "override_texts",
    "parse_config",
    "parse_written",
    "read_recipe",
    "recipe_files",
]
