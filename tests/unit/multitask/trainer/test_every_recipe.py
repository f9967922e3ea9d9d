"""Every shipped recipe, two steps a phase, on the shipped sample with a tiny BERT, through `multitask.train`."""

from pathlib import Path

import pytest
import torch

import multitask
from multitask.config import RunConfig, list_recipes, parse_config
from multitask.data import prepare_tables
from multitask.model import build_model
from multitask.trainer.saved import SavedSteps
from tests.builders import build_tiny_bert


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoder and cache; the sample is tokenised once for all recipes."""
    made = tmp_path_factory.mktemp("every-recipe")
    build_tiny_bert(made / "encoder")
    return made


def short(recipe: str, place: Path) -> RunConfig:
    """`recipe` on the sample: 32 rows a task, batches of at most 8, two steps a phase (four where layers thaw by epochs)."""
    tree = multitask.load_recipe(recipe, ["+sample"]).to_dict()
    tree["encoder"]["name"] = str(place / "encoder")
    if tree["encoder"]["adapter"]["name"] == "projected_attention":
        tree["encoder"]["adapter"] |= {"width": 8, "heads": 2}
    tree["data"] |= {"cache": str(place / "cache"), "max_length": 32, "batch_size": 8}
    tree["optimizer"]["lr"] = 0.01
    for task in tree["tasks"].values():
        task |= {"train_rows": 32, "rows_per_pass": None, "batch_size": None}
    for phase in tree["phases"]:
        gradual = phase["encoder"] == "gradual"
        # One task after the other has come to the third after two passes of four batches.
        few = 9 if phase["sampling"]["name"] == "sequential" and len(phase["tasks"] or tree["tasks"]) == 3 else 2
        phase |= {"epochs": 4 if gradual else 1, "steps_per_epoch": 1 if gradual else few, "rows_per_epoch": None}
    return parse_config(tree, recipe)


@pytest.mark.parametrize("recipe", list_recipes())
def test_recipe_trains_in_one_process(recipe: str, place: Path, tmp_path: Path) -> None:
    config = short(recipe, place)
    start = dict(build_model(config).named_parameters())
    trained = multitask.train(config, folder=tmp_path, progress=False, device="cpu")
    assert trained.status == "finished"
    assert trained.progress.step == sum(phase.epochs * (phase.steps_per_epoch or 0) for phase in config.phases)
    assert trained.progress.skipped_steps == 0
    assert set(trained.scores) >= {
        "dev/mean",
        *(f"dev/{t}/{config.tasks[t].selection_metric}" for t in config.scored_tasks),
    }
    # Those of the last step; `trained` holds the best evaluation's.
    saved = SavedSteps(tmp_path).newest(config, prepare_tables(config).hashes())
    assert saved is not None
    weights = saved.tensors["weights"]
    moved = {name for name, value in weights.items() if not torch.equal(value, start[name])}
    for task in trained.progress.trained_steps:
        own = {name for name in weights if name.startswith((f"heads.{task}.", f"adapters.{task}."))}
        assert own <= moved or config.tasks[task].kind.name == "contrastive", task
    shared = any(name.startswith("encoder.") for name in moved)
    assert shared == any(phase.encoder != "frozen" for phase in config.phases)
