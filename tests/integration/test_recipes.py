"""Every shipped recipe, a few steps long, on the shipped sample with a tiny BERT, in this process."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertModel

from cluster.storage.run_folder import RunFolder
from cluster.storage.shard_file import load_weights
from cluster.training.session import LocalSession
from cluster.training.worker import train
from multitask.config import RunConfig, list_recipes, load_recipe, parse_config
from multitask.model import build_model
from tests.builders import build_tiny_bert

LR = 0.01
ROWS = 128
SPREAD = 8
# One under which the untrained heads of two classes do not say what most rows are, which training starts with.
SEED = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoder, cache and runs; the sample is tokenised once for all recipes."""
    made = tmp_path_factory.mktemp("recipes")
    encoder = BertModel.from_pretrained(build_tiny_bert(made / "encoder"))
    with torch.no_grad():
        for weight in encoder.parameters():
            # Else it says nearly the same of every text, and the scores of the untrained heads are those of one class.
            weight *= SPREAD if weight.dim() > 1 else 1
    encoder.save_pretrained(made / "encoder")
    return made


def small(recipe: str, folder: Path) -> RunConfig:
    """`recipe` on the sample: `ROWS` rows a task, an epoch a phase, a rate high enough to move every score at once."""
    tree = load_recipe(recipe, ["+sample"]).to_dict()
    tree["encoder"]["name"] = str(folder / "encoder")
    if tree["encoder"]["adapter"]["name"] == "projected_attention":
        tree["encoder"]["adapter"] |= {"width": 8, "heads": 2}
    tree["data"] |= {"cache": str(folder / "cache"), "max_length": 32}
    tree["cluster"] |= {"workers": 1, "device": "cpu", "storage": str(folder / "runs")}
    tree["tracking"] |= {"mode": "disabled"}
    tree["training"] |= {"evaluate_before": True}
    tree["optimizer"]["lr"], tree["seed"] = LR, SEED
    for task in tree["tasks"].values():
        task["train_rows"] = min(task["train_rows"] or ROWS, ROWS)
        task["rows_per_pass"] = None
    for phase in tree["phases"]:
        _shorten(phase, len(phase["tasks"] or tree["tasks"]))
    return parse_config(tree, recipe)


def _shorten(phase: dict[str, Any], tasks: int) -> None:
    """One epoch, of few steps that yet train every task: six of all tasks together, or of each."""
    together = phase["sampling"].get("tasks_per_step") == "all"
    phase["epochs"] = 3 if phase["encoder"] == "gradual" else 1
    phase["lr"] = LR
    if phase["sampling"]["name"] not in ("sequential", "proportional"):
        phase["steps_per_epoch"] = 6 if together else 6 * tasks


def run(config: RunConfig) -> tuple[Any, dict[str, torch.Tensor], dict[str, Any]]:
    """The outcome, the last weights, and `result.json`."""
    session = LocalSession("cpu", [])
    try:
        outcome = train(config, session, time.time())
    finally:
        session.close()
    run_folder = RunFolder.of(config)
    step = sorted((Path(run_folder.location) / "checkpoints").iterdir())[-1].name
    return outcome, load_weights(run_folder.storage, f"checkpoints/{step}"), run_folder.result() or {}


@pytest.mark.parametrize("recipe", list_recipes())
def test_recipe_trains_its_tasks_and_nothing_else(recipe: str, folder: Path) -> None:
    config = small(recipe, folder)
    fresh = {name: p.detach().reshape(-1).clone() for name, p in build_model(config).named_parameters()}
    outcome, weights, result = run(config)
    assert outcome.status == "finished"
    assert result["skipped_steps"] == 0

    trained = {task for phase in range(len(config.phases)) for task in config.phase_tasks(phase)}
    assert set(result["trained_steps"]) == trained
    for task in trained & set(config.scored_tasks):
        scores = {name for name in outcome.baseline_dev if name.startswith(f"dev/{task}/")}
        assert any(outcome.baseline_dev[name] != result["history"][-1][name] for name in scores), task

    for name, before in fresh.items():
        part, owner, *_ = name.split(".")
        if part in ("heads", "adapters"):
            assert torch.equal(weights.get(name, before), before) == (owner not in trained), name
    moved = {name for name in weights if name.startswith("encoder.") and not torch.equal(weights[name], fresh[name])}
    assert bool(moved) == any(phase.encoder != "frozen" for phase in config.phases)
