"""The shipped recipes as Markdown tables: `python -m multitask.config.recipe_table docs/recipes.md` writes them into that page."""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from multitask.config.loading import list_recipes, read_recipe
from multitask.config.published import TASKS, count_sentence

FURTHER = "Further recipes"
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


def published_scores(source: Mapping[str, Any]) -> list[str]:
    """SST, Quora and STS as `.516/.905/.877`, those of test and train rows after their name; empty without any.

    Where nothing but an overall score was published, that one.
    """
    scores, overall = source.get("scores") or {}, source.get("overall") or {}
    lines = {split: "/".join(score_text(own.get(task)) for task in TASKS) for split, own in scores.items()}
    lines = {split: f"overall {score_text(score)}" for split, score in overall.items() if not scores} | lines
    return [text if split == "dev" else f"{split} {text}" for split, text in lines.items()]


def used_encoder(config: Mapping[str, Any]) -> str:
    """The encoder of a config's tree, and that of the paper."""
    published = source_of(config).get("encoder")
    return config["encoder"]["name"] + (f"; published with {published}" if published else "")


def used_data(config: Mapping[str, Any], rows: Mapping[str, int] | None = None) -> str:
    """The training files of a config's tree with the rows that they gave, where these are known, and the data of the paper."""
    parts = []
    for task, own in config["tasks"].items():
        number = (rows or {}).get(task) or own.get("train_rows")
        files = own["files"]["train"]
        names = files if isinstance(files, str) else ", ".join(map(str, files))
        parts.append(f"{task} {names}" + (f" ({number:,} rows)" if number else ""))
    published = source_of(config).get("data")
    return (
        "; ".join(parts) + f"; below {config['data']['root']}" + (f"; published with {published}" if published else "")
    )


def score_text(score: float | None) -> str:
    """Three digits, without a 0 before the point."""
    if score is None:
        return "–"
    return ("-" if score < 0 else "") + f"{abs(score):.3f}".removeprefix("0")


def recipe_table() -> str:
    """A table for each paper: recipe, row, what it does, published scores, what differs."""
    parts = [f"Published in the five papers: {count_sentence()} ([every row](../multitask/recipes/published.csv))."]
    for paper, recipes in by_paper(read_recipe(name) for name in list_recipes()).items():
        source = source_of(recipes[0])
        published = [f"With {source['encoder']}; {source['data']}.\n"] if source.get("data") else []
        lines = [
            f"### {paper}\n",
            *published,
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
    cells = (
        f"`{recipe['name']}`",
        row,
        recipe["description"],
        ", ".join(published_scores(source)),
        source.get("differs") or "",
    )
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(with_table(target.read_text(encoding="utf-8")), encoding="utf-8")
