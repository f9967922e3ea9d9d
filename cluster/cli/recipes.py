"""`concord recipes`: those that the project ships, one of them in full, and published against measured scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.arguments import Recipe
from cluster.terminal.json_output import print_json

recipes = typer.Typer(help="Look at the recipes, and compare runs with what was published.", add_completion=False)

_JSON = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


@recipes.callback(invoke_without_command=True)
def list_all(context: typer.Context, json: _JSON = False) -> None:
    """List the shipped recipes: where each comes from, what differs, and the published dev scores."""
    if context.invoked_subcommand is not None:
        return
    from cluster.terminal.recipe_display import show_recipes
    from multitask.config import list_recipes, read_recipe

    found = [_summary(read_recipe(name)) for name in list_recipes()]
    if json:
        print_json({"recipes": found})
    else:
        show_recipes(found)


@recipes.command()
def show(
    recipe: Recipe,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as +sample or optimizer.lr=1e-5.", metavar="[CHANGE]...")
    ] = None,
    json: _JSON = False,
) -> None:
    """Show where RECIPE comes from, what its files comment on, and the whole config that they make."""
    import yaml

    from cluster.api.recipe_comments import commented_lines
    from cluster.terminal.recipe_display import show_source
    from multitask.config import load_recipe, recipe_files

    config = load_recipe(recipe, overrides or []).to_public()
    comments = {_file_name(path): commented_lines(path) for path in recipe_files(recipe)}
    if json:
        lines = {file: [line._asdict() for line in found] for file, found in comments.items()}
        print_json({**_summary(config), **_used(config), "comments": lines, "config": config})
        return
    show_source(_summary(config) | _used(config))
    for file, found in comments.items():
        print(f"\n{file}")
        for line in found:
            print(f"{line.number:4}  {line.text}")
    print(f"\nconfig\n{yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)}", end="")


@recipes.command()
def table(
    runs: Annotated[list[str], typer.Argument(help="Run folders or URIs.", metavar="RUN...")],
    json: _JSON = False,
) -> None:
    """Print the published dev scores of each RUN's recipe beside those of its best checkpoint."""
    from cluster.api.published import compare

    found = [compare(run) for run in runs]
    if json:
        print_json({"runs": [comparison.to_dict() for comparison in found]})
    else:
        from cluster.terminal.recipe_display import show_comparison

        show_comparison([comparison.to_dict() | {"origin": comparison.origin} for comparison in found])


def _summary(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tree.get(key) for key in ("name", "description", "source")}


def _used(config: Mapping[str, Any]) -> dict[str, str]:
    from multitask.config.recipe_table import used_data, used_encoder

    return {"encoder": used_encoder(config), "data": used_data(config)}


def _file_name(path: Path) -> str:
    """Shipped files by their place among the recipes, others by their path."""
    from multitask.config.loading import RECIPES

    return str(path.relative_to(RECIPES)) if path.is_relative_to(RECIPES) else str(path)
