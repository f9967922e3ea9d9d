"""Recipes, and published against measured scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from multitask.config.published import count_sentence
from multitask.config.recipe_table import FURTHER, by_paper, published_scores, score_text, source_of


def show_recipes(found: list[dict[str, Any]]) -> None:
    """Print the recipes by the paper that they are from."""
    for heading, own in by_paper(found).items():
        _print(f"\n{heading}")
        _print(_list_table(own, "paper" if heading == FURTHER else "row"))
    _print("Scores: published, with BERT-base, on dev rows if not said otherwise; SST and Quora accuracy, STS Pearson.")
    _print(f"Of the five papers: {count_sentence()}.")
    _print("A recipe in full, and what its paper leaves open: concord recipes show RECIPE")


def _list_table(found: list[dict[str, Any]], origin: str) -> Table:
    rows = _table("recipe", origin, "what differs", title=None)
    rows.add_column("SST/Quora/STS", justify="right")
    # In a narrow terminal the middle columns wrap more; names and scores stay whole.
    for column, width, fixed in zip(rows.columns, (23, 20, 27, 20), (True, False, False, True), strict=True):
        column.max_width, column.min_width, column.no_wrap = width, width if fixed else 8, fixed
        column.overflow = "fold"
    for summary in found:
        source = source_of(summary)
        rows.add_row(summary["name"], source.get(origin), summary["description"], "\n".join(published_scores(source)))
    return rows


def show_source(summary: Mapping[str, Any]) -> None:
    """Print where a recipe comes from, line by line."""
    source = source_of(summary)
    lines = {
        "recipe": summary["name"],
        "does": summary["description"],
        "paper": source.get("paper"),
        "row": source.get("row"),
        **_published(source),
        "differs": source.get("differs"),
        "encoder": summary.get("encoder"),
        "data": summary.get("data"),
    }
    for key, value in lines.items():
        if value:
            print(f"{key:10}{value}")


def _published(source: Mapping[str, Any]) -> dict[str, str]:
    scores, overall = source.get("scores") or {}, source.get("overall") or {}
    lines = {}
    for split in dict.fromkeys((*scores, *overall)):
        words = [f"{task} {score_text(score)}" for task, score in scores.get(split, {}).items()]
        words += [f"overall {score_text(overall[split])}"] if split in overall else []
        lines[f"on {split}"] = "  ".join(words)
    return lines


def show_comparison(found: Sequence[Mapping[str, Any]]) -> None:
    """Print runs' dev scores, published and measured; each run has `name`, `origin`, `published` and `measured`."""
    tasks = list(dict.fromkeys(task for run in found for task in (*run["published"], *run["measured"])))
    rows = _table("run", "row", title="dev scores, published → measured")
    rows.columns[0].overflow = rows.columns[1].overflow = "fold"
    for task in tasks:
        rows.add_column(task, justify="right", no_wrap=True)
    for run in found:
        cells = (_both(run["published"].get(task), run["measured"].get(task)) for task in tasks)
        rows.add_row(run["name"], run["origin"], *cells)
    _print(rows)
    for run in found:
        _print(f"\n{run['name']}")
        for key in ("differs", "encoder", "data"):
            if run[key]:
                _print(f"  {key:8} {run[key]}")


def _both(published: float | None, measured: float | None) -> str:
    return "" if published is None and measured is None else f"{score_text(published)} → {score_text(measured)}"


def _table(*headings: str, title: str | None) -> Table:
    rows = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for heading in headings:
        rows.add_column(heading)
    return rows


def _print(what: str | Table) -> None:
    Console().print(what, markup=False, highlight=False)
