"""Every row of the five papers that the recipes implement: `multitask/recipes/published.csv`."""

import csv
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from multitask.config.loading import RECIPES
from multitask.config.source import Published

TASKS = ("sst", "quora", "sts")
Kind = Literal["scored", "unscored", "space"]


@dataclass(frozen=True)
class PublishedRow:
    """What a paper says of one system on one split, at a `place` such as `table 2`.

    `kind`: `scored`, with `scores` (task to score) or `overall`; `unscored`, which was trained, tried or announced; or
    `space`, what a table compares. `recipe` or `space` implements it, else `note` says why none does. `again`: the recipe
    carries the scores of another row.
    """

    paper: str
    place: str
    row: str
    kind: Kind
    split: Published | None
    scores: dict[str, float]
    overall: float | None
    recipe: str | None
    space: str | None
    again: bool
    note: str


def published_rows() -> tuple[PublishedRow, ...]:
    """The whole table, in the papers' order; a row with scores on two splits comes twice."""
    with (RECIPES / "published.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_row(line) for line in csv.DictReader(file))


def count_published() -> dict[Kind, int]:
    """Kind to how many different rows of papers there are; `space` to how many spaces."""
    systems = {(own.paper, own.place, own.row): own.kind for own in published_rows()}
    counts = Counter(systems.values())
    return {"scored": counts["scored"], "unscored": counts["unscored"], "space": counts["space"]}


def count_sentence() -> str:
    """The counts in words."""
    counts = count_published()
    return f"{counts['scored']} rows with scores, {counts['unscored']} without, {counts['space']} search spaces"


def _row(line: dict[str, str]) -> PublishedRow:
    return PublishedRow(
        paper=line["paper"],
        place=line["place"],
        row=line["row"],
        kind=line["kind"],  # type: ignore[arg-type]
        split=line["split"] or None,  # type: ignore[arg-type]
        scores={task: float(line[task]) for task in TASKS if line[task]},
        overall=float(line["overall"]) if line["overall"] else None,
        recipe=line["recipe"] or None,
        space=line["space"] or None,
        again=line["again"] == "yes",
        note=line["note"],
    )
