"""`concord recipes`: those that the project ships, one of them in full, and published against measured scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.terminal.json_output import print_json
from multitask.config.recipe_table import FURTHER, by_paper, published_scores, score_text, source_of

if TYPE_CHECKING:
    from rich.table import Table

    from cluster.cli.published import Comparison

recipes = typer.Typer(help="Look at the recipes, and compare runs with what was published.", add_completion=False)

_JSON = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


@recipes.callback(invoke_without_command=True)
def list_all(context: typer.Context, json: _JSON = False) -> None:
    """List the shipped recipes: where each comes from, what differs, and the published dev scores."""
    if context.invoked_subcommand is not None:
        return
    from multitask.config import list_recipes, read_recipe

    found = [_summary(read_recipe(name)) for name in list_recipes()]
    if json:
        print_json({"recipes": found})
    else:
        _show_list(found)


@recipes.command()
def show(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.", metavar="RECIPE")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as +sample or optimizer.lr=1e-5.", metavar="[CHANGE]...")
    ] = None,
    json: _JSON = False,
) -> None:
    """Show where RECIPE comes from, what its files comment on, and the whole config that they make."""
    import yaml

    from cluster.cli.comments import commented_lines
    from multitask.config import load_recipe, recipe_files

    config = load_recipe(recipe, overrides or []).to_dict()
    comments = {_file_name(path): commented_lines(path) for path in recipe_files(recipe)}
    if json:
        lines = {file: [line._asdict() for line in found] for file, found in comments.items()}
        print_json({**_summary(config), "comments": lines, "config": config})
        return
    _show_source(_summary(config))
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
    from cluster.cli.published import compare

    found = [compare(run) for run in runs]
    if json:
        print_json({"runs": [comparison.to_dict() for comparison in found]})
    else:
        _print(_comparison_table(found))


def _summary(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tree.get(key) for key in ("name", "description", "source")}


def _file_name(path: Path) -> str:
    """Shipped files by their place among the recipes, others by their path."""
    from multitask.config.loading import RECIPES

    return str(path.relative_to(RECIPES)) if path.is_relative_to(RECIPES) else str(path)


def _show_list(found: list[dict[str, Any]]) -> None:
    for heading, own in by_paper(found).items():
        _print(f"\n{heading}")
        _print(_list_table(own, "paper" if heading == FURTHER else "row"))
    _print("Scores: published dev scores with BERT-base; SST and Quora accuracy, STS Pearson correlation.")
    _print("A recipe in full, and what its paper leaves open: concord recipes show RECIPE")


def _list_table(found: list[dict[str, Any]], origin: str) -> "Table":
    rows = _table("recipe", origin, "what differs", title=None)
    rows.add_column("SST/Quora/STS", justify="right")
    # In a narrow terminal the middle columns wrap more; names and scores stay whole.
    for column, width, fixed in zip(rows.columns, (20, 25, 29, 16), (True, False, False, True), strict=True):
        column.max_width, column.min_width, column.no_wrap = width, width if fixed else 8, fixed
    for summary in found:
        source = source_of(summary)
        rows.add_row(summary["name"], source.get(origin), summary["description"], published_scores(source))
    return rows


def _show_source(summary: Mapping[str, Any]) -> None:
    source = source_of(summary)
    scores = "  ".join(f"{task} {score_text(score)}" for task, score in (source.get("scores") or {}).items())
    overall = f"  overall {source['overall']:g}" if source.get("overall") is not None else ""
    lines = {
        "recipe": summary["name"],
        "does": summary["description"],
        "paper": source.get("paper"),
        "row": source.get("row"),
        "published": scores + overall,
        "differs": source.get("differs"),
    }
    for key, value in lines.items():
        if value:
            print(f"{key:10}{value}")


def _comparison_table(found: "list[Comparison]") -> "Table":
    tasks = list(dict.fromkeys(task for comparison in found for task in (*comparison.published, *comparison.measured)))
    rows = _table("run", "row", title="dev scores, published → measured")
    rows.columns[0].overflow = rows.columns[1].overflow = "fold"
    for task in tasks:
        rows.add_column(task, justify="right", no_wrap=True)
    for comparison in found:
        cells = (_both(comparison.published.get(task), comparison.measured.get(task)) for task in tasks)
        rows.add_row(comparison.name, comparison.origin, *cells)
    return rows


def _both(published: float | None, measured: float | None) -> str:
    return "" if published is None and measured is None else f"{score_text(published)} → {score_text(measured)}"


def _table(*headings: str, title: str | None) -> "Table":
    from rich import box
    from rich.table import Table

    rows = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for heading in headings:
        rows.add_column(heading)
    return rows


def _print(what: "str | Table") -> None:
    from rich.console import Console

    Console().print(what, markup=False, highlight=False)
