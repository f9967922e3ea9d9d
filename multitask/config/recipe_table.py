"""The shipped recipes as Markdown tables: `python -m multitask.config.recipe_table docs/recipes.md` writes them into that page."""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from multitask.config.loading import list_recipes, read_recipe

FURTHER = "Further recipes"
_TASKS = ("sst", "quora", "sts")
_BEGIN, _END = "<!-- written by make reference: -->", "<!-- to here -->"


def source_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Where a recipe's tree says that it comes from; empty where it does not."""
    return recipe.get("source") or {}


def by_paper(recipes: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Paper to its recipes, in order; `FURTHER` at the end for those with a paper of their own, or none."""
    recipes = list(recipes)
    papers = Counter(source_of(recipe).get("paper") for recipe in recipes)
    groups: dict[str, list[dict[str, Any]]] = {}
    for recipe in recipes:
        paper = source_of(recipe).get("paper")
        groups.setdefault(paper if paper and papers[paper] > 1 else FURTHER, []).append(recipe)
    return {paper: groups[paper] for paper in sorted(groups, key=lambda paper: (paper == FURTHER, paper))}


def published_scores(source: Mapping[str, Any]) -> str:
    """SST, Quora and STS as `.516/.905/.877`; empty where no score was published."""
    scores = source.get("scores") or {}
    return "/".join(score_text(scores.get(task)) for task in _TASKS) if scores else ""


def score_text(score: float | None) -> str:
    """Three digits, without a 0 before the point."""
    if score is None:
        return "–"
    return ("-" if score < 0 else "") + f"{abs(score):.3f}".removeprefix("0")


def recipe_table() -> str:
    """A table for each paper: recipe, row, what it does, published scores, what differs."""
    parts = []
    for paper, recipes in by_paper(read_recipe(name) for name in list_recipes()).items():
        lines = [
            f"### {paper}\n",
            "| recipe | row | what it does | published | what differs |",
            "|---|---|---|---|---|",
        ]
        lines += [_line(recipe, paper) for recipe in recipes]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def with_table(page: str) -> str:
    """`page` with the tables between its two marks."""
    return re.sub(f"(?s){_BEGIN}.*{_END}", lambda _: f"{_BEGIN}\n\n{recipe_table()}\n\n{_END}", page)


def _line(recipe: Mapping[str, Any], paper: str) -> str:
    source = source_of(recipe)
    row = source.get("row") or ""
    if paper == FURTHER and source:
        row = f"{source['paper']}: {row}"
    cells = (f"`{recipe['name']}`", row, recipe["description"], published_scores(source), source.get("differs") or "")
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(with_table(target.read_text(encoding="utf-8")), encoding="utf-8")
