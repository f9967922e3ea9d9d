"""The page of recipes lists every shipped one with what its file says."""

from pathlib import Path

import yaml

from multitask.config import list_recipes, load_recipe
from multitask.config.loading import RECIPES
from multitask.config.recipe_table import with_table

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


def test_page_is_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_table(text), "run `make reference`"


def test_every_recipe_has_a_row_with_its_scores_and_differences() -> None:
    rows = {line.split(" | ")[0].strip("| `"): line for line in PAGE.read_text(encoding="utf-8").splitlines()}
    for name in list_recipes():
        own = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8")).get("source") or {}
        for score in (score for split in own.get("scores", {}).values() for score in split.values()):
            assert f"{score:.3f}".replace("0.", ".", 1) in rows[name]
        assert own.get("differs", "") in rows[name]
        assert load_recipe(name).description in rows[name]
