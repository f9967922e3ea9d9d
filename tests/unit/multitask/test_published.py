"""The table of all published rows: what the papers print, what the recipes carry, and what the pages count."""

import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from multitask.config import list_recipes, load_recipe
from multitask.config.published import PublishedRow, count_published, count_sentence, published_rows
from tune_spaces import shipped_spaces

ROWS = published_rows()
ROOT = Path(__file__).parents[3]
# Recipes that stand for no row of a paper.
OTHERS = {
    "demo",
    "extra-tasks",
    "gradual-unfreezing",
    "lora",
    "main",
    "mnrl",
    "projected-attention",
    "proportional",
    "simcse-supervised",
}


def _carried(recipe: str) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """The scores and overall scores, by split, that the table's rows give a recipe."""
    scores: dict[str, dict[str, float]] = {}
    overall: dict[str, float] = {}
    for own in ROWS:
        if own.recipe == recipe and own.split and not own.again:
            assert own.split not in scores.keys() | overall.keys(), f"{recipe}: two rows have scores on {own.split}"
            if own.scores:
                scores[own.split] = own.scores
            if own.overall is not None:
                overall[own.split] = own.overall
    return scores, overall


@pytest.mark.parametrize("own", ROWS, ids=lambda own: f"{own.paper} {own.place} {own.row} {own.split}")
def test_every_published_row_is_a_recipe_or_a_space_or_says_why_not(own: PublishedRow) -> None:
    assert own.kind in ("scored", "unscored", "space")
    assert (own.kind == "scored") == bool(own.scores or own.overall) == (own.split in ("dev", "test", "train"))
    assert (own.kind == "space") == (own.space is not None)
    assert own.space is None or own.space in shipped_spaces()
    assert own.recipe is not None or own.kind == "space" or (own.kind == "unscored" and own.note)
    assert not own.again or own.note
    if own.recipe is not None:
        assert own.recipe.startswith(f"{own.paper.lower()}-")
        source = load_recipe(own.recipe).source
        assert source is not None
        assert source.paper.startswith(f"{own.paper}. ")


@pytest.mark.parametrize("recipe", list_recipes())
def test_a_recipe_carries_the_scores_of_its_rows_and_no_others(recipe: str) -> None:
    source = load_recipe(recipe).source
    assert (recipe in {own.recipe for own in ROWS}) != (recipe in OTHERS)
    scores, overall = _carried(recipe)
    assert (source.scores if source else {}) == scores
    assert (source.overall if source else {}) == overall
    if recipe not in OTHERS:
        assert source
        assert source.row
        assert source.differs
        assert (source.encoder, bool(source.data)) == ("bert-base-uncased", True)


def test_overall_scores_are_sums_or_means_of_the_tasks_but_for_one_that_the_paper_misprints() -> None:
    wrong = []
    for own in ROWS:
        if own.overall is not None and len(own.scores) == 3:
            total = sum(own.scores.values())
            # Paper C and the leaderboard count a correlation r as (r + 1) / 2.
            mapped = (total - own.scores["sts"] + (own.scores["sts"] + 1) / 2) / 3
            if min(abs(own.overall - value) for value in (total, total / 3, mapped)) > 0.0012:
                wrong.append(own.row)
    assert wrong == ["Basic"]


def test_every_score_is_in_the_text_of_its_paper(shared_data: Path) -> None:
    """Each row's numbers stand on one line of the paper, or on two that follow each other."""
    for own in ROWS:
        lines = (shared_data.parent / "papers" / f"{own.paper}.txt").read_text(encoding="utf-8").splitlines()
        numbers = [Counter(round(float(n), 4) for n in re.findall(r"-?\d*\.\d+", line)) for line in lines]
        pairs = [one + two for one, two in zip(numbers, [*numbers[1:], Counter()], strict=True)]
        wanted = Counter([*own.scores.values(), *([own.overall] if own.overall is not None else [])])
        assert any(wanted <= pair for pair in pairs), own


def test_every_table_of_the_papers_is_there() -> None:
    places = defaultdict(set)
    for own in ROWS:
        places[own.paper].add(own.place)
    tables = {"A": {1, 2, 3}, "B": {2, 3}, "C": {1, 2, 3}, "D": {1, 2}, "E": {1}}
    assert {paper: {int(p[6:]) for p in own if p.startswith("table ")} for paper, own in places.items()} == tables


def test_the_counts_are_those_that_readme_and_the_page_of_recipes_say() -> None:
    systems = {(own.paper, own.place, own.row): own.kind for own in ROWS}
    assert count_published() == Counter(systems.values())
    for page in ("README.md", "docs/recipes.md"):
        assert count_sentence() in " ".join((ROOT / page).read_text(encoding="utf-8").split()), page
