"""The files of the shipped recipes: their data, their bases, and the overlay for the sample."""

from pathlib import Path

import pytest

from multitask.config import RunConfig, list_recipes, load_recipe, override_config, recipe_files
from multitask.config.loading import RECIPES
from multitask.data import read_split
from multitask.data.location import locate
from multitask.errors import UserError


def _files(config: RunConfig) -> set[str]:
    named = (name for task in config.tasks.values() for files in task.files.values() for name in files)
    return {locate(config.data.root, name) for name in named}


@pytest.mark.parametrize("recipe", list_recipes())
def test_files_of_the_full_data_are_there(recipe: str, shared_data: Path) -> None:
    overrides = [] if recipe == "demo" else [f"data.root={shared_data}"]
    assert not [file for file in _files(load_recipe(recipe, overrides)) if not Path(file).is_file()]


@pytest.mark.parametrize(
    ("recipe", "task", "rows"),
    [
        ("extra-tasks", "mrpc", 3855),
        ("extra-tasks", "rte", 1244),
        ("extra-tasks", "cola", 8551),
        ("b-cfimdb", "cfimdb", 1707),
        ("e-mix-aux", "review", 14997),
        ("d-mnrl", "duplicates", 47066),
        ("c-simcse", "wiki", 20093),
        ("simcse-supervised", "nli", 27560),
    ],
)
def test_further_tasks_of_the_full_data_are_read_as_declared(
    recipe: str, task: str, rows: int, shared_data: Path
) -> None:
    read = read_split(load_recipe(recipe, [f"data.root={shared_data}"]), task, "train")
    assert read.table.num_rows == rows
    assert not read.bad_rows


@pytest.mark.parametrize("recipe", list_recipes())
def test_one_override_puts_any_recipe_on_the_sample(recipe: str) -> None:
    full, sample = load_recipe(recipe), load_recipe(recipe, ["+sample"])
    assert sample.name == f"{recipe}-sample"
    assert not [file for file in _files(sample) if not Path(file).is_file()]
    kept = [full.to_dict(), sample.to_dict()]
    for tree in kept:
        del tree["name"], tree["data"]["root"]
        for task in tree["tasks"].values():
            del task["files"], task["format"], task["columns"]
            task["kind"].pop("labels", None)
    assert kept[0] == kept[1]


def test_every_base_is_part_of_a_recipe_and_none_is_one() -> None:
    parts = {file.resolve() for recipe in list_recipes() for file in recipe_files(recipe)}
    bases = set((RECIPES / "bases").glob("*.yaml"))
    assert bases <= parts
    assert not bases & {RECIPES / f"{recipe}.yaml" for recipe in list_recipes()}


def test_files_of_a_recipe_start_with_the_furthest() -> None:
    names = [str(path.relative_to(RECIPES)) for path in recipe_files("c-b2")]
    assert names == ["bases/tasks.yaml", "bases/minbert.yaml", "bases/c.yaml", "bases/c-b1.yaml", "c-b2.yaml"]


def test_overlay_adds_no_task_and_changes_win_over_it() -> None:
    config = load_recipe("main", ["data.root=elsewhere", "+sample", "name=mine"])
    assert list(config.tasks) == ["sst", "quora", "sts"]
    assert (config.data.root, config.name) == ("elsewhere", "mine")
    assert config.tasks["sst"].format == "parquet"
    assert config.tasks["sst"].kind == load_recipe("main").tasks["sst"].kind


def test_own_overlays_are_files_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "quick.yaml").write_text("phases: [{epochs: 1, steps_per_epoch: 3}]\nseed: 5\n")
    config = load_recipe("main", ["+sample", f"+{tmp_path / 'quick.yaml'}"])
    assert (config.name, config.seed, config.phases[0].steps_per_epoch) == ("main-sample-quick", 5, 3)
    assert override_config(load_recipe("main"), ["+sample"]).data.root == "package:multitask/sample"
    with pytest.raises(UserError, match=r"there is no overlay 'smaple'; valid: sample; did you mean 'sample'\?"):
        load_recipe("main", ["+smaple"])
    with pytest.raises(UserError, match=r"there is no overlay file none\.yaml"):
        load_recipe("main", ["+none.yaml"])
    (tmp_path / "bad.yaml").write_text("encodr: {}\n")
    with pytest.raises(UserError, match="unknown key 'encodr'"):
        load_recipe("main", [f"+{tmp_path / 'bad.yaml'}"])
