"""The shipped recipes against an independent transcription of the papers' tables, and the overlay for the sample."""

from pathlib import Path

import pytest

from multitask.config import RunConfig, list_recipes, load_recipe, override_config, recipe_files
from multitask.config.loading import RECIPES
from multitask.data import read_split
from multitask.data.location import locate
from multitask.errors import UserError

# Dev scores as the papers' tables have them: SST accuracy, Quora accuracy, STS Pearson correlation.
PUBLISHED = {
    "a-bert": (0.344, 0.512, -0.029),
    "a-cos-wl": (0.482, 0.738, 0.375),
    "a-cos-grad": (0.478, 0.736, 0.401),
    "a-pears-wl": (0.483, 0.731, 0.517),
    "a-pears-grad": (0.469, 0.747, 0.509),
    "b-baseline": (0.515, 0.597, -0.057),
    "b-pretrain": (0.502, 0.525, 0.378),
    "b-basic": (0.497, 0.527, 0.667),
    "b-cosine": (0.506, 0.768, 0.690),
    "b-cosine-siar": (0.524, 0.787, 0.682),
    "b-cosine-siar-adamw": (0.455, 0.716, 0.617),
    "b-cosine-siar-adamax": (0.346, 0.685, 0.242),
    "b-cosine-siar-qhadam": (0.448, 0.709, 0.541),
    "b-cosine-siar-lamb": (0.436, 0.713, 0.558),
    "c-baseline": (0.486, 0.773, 0.31),
    "c-cosine": (0.49, 0.753, 0.354),
    "c-b1": (0.495, 0.848, 0.861),
    "c-b1-pcgrad": (0.505, 0.867, 0.86),
    "c-b2": (0.516, 0.905, 0.877),
    "c-simcse": (0.500, 0.848, 0.853),
    "c-b3": (0.502, 0.900, 0.870),
    "d-sst": (0.511, None, None),
    "d-quora": (None, 0.871, None),
    "d-sts": (None, None, 0.704),
    "d-sum": (0.516, 0.707, 0.683),
    "d-surgery": (0.475, 0.778, 0.702),
    "d-surgery-mean": (0.501, 0.779, 0.730),
    "e-pretrain": (0.390, 0.702, 0.457),
    "e-seq": (0.510, 0.877, 0.830),
    "e-mix": (0.524, 0.872, 0.855),
    "e-mix-05": (0.505, 0.872, 0.849),
    "e-mix-surgery": (0.515, 0.871, 0.849),
    "e-mix-surgery-05": (0.513, 0.877, 0.855),
    "e-mix-aux": (0.510, 0.875, 0.851),
    "e-mix-aux-05": (0.501, 0.877, 0.846),
}
# The first epoch's overall score of paper B's optimizers.
OVERALL = {
    "b-cosine-siar-adamw": 1.788,
    "b-cosine-siar-adamax": 1.273,
    "b-cosine-siar-qhadam": 1.698,
    "b-cosine-siar-lamb": 1.707,
}
NOT_SCORED = {
    "b-cfimdb",
    "b-bregman",
    "b-contrastive",
    "c-variable-batch",
    "c-annealed",
    "d-mnrl",
    "e-aux-surgery4",
    "e-aux-surgery2",
}
DEMONSTRATIONS = {"extra-tasks", "lora", "projected-attention", "gradual-unfreezing", "simcse-supervised", "mnrl"}
OWN = {"demo", "main", "proportional"}


def _files(config: RunConfig) -> set[str]:
    named = (name for task in config.tasks.values() for files in task.files.values() for name in files)
    return {locate(config.data.root, name) for name in named}


def test_every_published_row_has_its_recipe() -> None:
    assert set(list_recipes()) == PUBLISHED.keys() | NOT_SCORED | DEMONSTRATIONS | OWN


@pytest.mark.parametrize("recipe", sorted(PUBLISHED.keys() | NOT_SCORED | DEMONSTRATIONS))
def test_published_scores_are_those_of_the_paper(recipe: str) -> None:
    source = load_recipe(recipe).source
    assert source is not None
    scores = zip(("sst", "quora", "sts"), PUBLISHED.get(recipe, (None,) * 3), strict=True)
    assert source.scores == {task: score for task, score in scores if score is not None}
    assert source.overall == OVERALL.get(recipe)
    if recipe in OVERALL:
        assert sum(source.scores.values()) == pytest.approx(OVERALL[recipe], abs=0.0011)
    assert recipe in DEMONSTRATIONS or source.paper.startswith(f"{recipe[0].upper()}. ")
    assert source.row
    assert source.differs


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
