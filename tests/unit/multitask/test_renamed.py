"""Older versions' names: refused where people write them, read where a run wrote them."""

from typing import Any

import pytest

from multitask.config import load_recipe, parse_config, parse_written
from multitask.config.renamed import with_present_names
from multitask.errors import UserError


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("tasks.sst.rows_per_epoch=9", "tasks.sst.rows_per_epoch is called tasks.sst.rows_per_pass now"),
        ("tasks.sst.rows_per_epoch=null", "tasks.sst.rows_per_epoch is called tasks.sst.rows_per_pass now"),
        (
            "phases.0.sampling={name: proportional, batches_per_step: 2}",
            "phases.0.sampling.batches_per_step is called phases.0.sampling.merged_batches now",
        ),
        (
            "phases.0.sampling={name: proportional_batches, batches: 2}",
            "phases.0.sampling.name: 'proportional_batches' is called 'scaled_batch_sizes' now",
        ),
        ("phases.0.sampling.name=weights", "phases.0.sampling.name: 'weights' is called 'draw_weights' now"),
        (
            "phases.0.sampling={name: draw_weights, draw_weights: {sst: 1, quora: 1, sts: 1}, weights: {}}",
            "phases.0.sampling.weights is called phases.0.sampling.draw_weights now",
        ),
        ("combination.name=weights", "combination.name: 'weights' is called 'loss_weights' now"),
        (
            "combination={name: loss_weights, loss_weights: {sst: 1, quora: 1, sts: 1}, weights: {}}",
            "combination.weights is called combination.loss_weights now",
        ),
    ],
)
def test_old_name_is_refused_with_the_new_one(override: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe("main", [override])
    assert str(error.value).endswith(told)
    assert len(str(error.value).splitlines()) == 1


def in_old_names(tree: dict[str, Any]) -> dict[str, Any]:
    """A config as an older version wrote it, with two tasks of its own and weights by hand."""
    weights = dict.fromkeys(tree["tasks"], 2.0)
    for task in tree["tasks"].values():
        task["rows_per_epoch"] = task.pop("rows_per_pass", None)
    sampling = [
        {"name": "proportional_batches", "batches": 3, "largest": None, "tasks_per_step": "all"},
        {"name": "weights", "weights": weights, "tasks_per_step": 1},
        {"name": "proportional", "batches_per_step": 2},
    ]
    tree["phases"] = [{"sampling": own, "rows_per_epoch": 7} for own in sampling]
    return tree | {"combination": {"name": "weights", "weights": weights}, "tracking": {"extra": {"weights": "old"}}}


def test_what_an_older_version_wrote_is_read(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"]["sst"]["rows_per_pass"] = 5
    old = in_old_names(tiny_tasks)
    with pytest.raises(UserError, match=r"rows_per_pass now"):
        parse_config(old, "test")
    config = parse_written(old, "test")
    assert {task: own.rows_per_pass for task, own in config.tasks.items()} == {"sst": 5, "quora": None, "sts": None}
    assert [phase.sampling.name for phase in config.phases] == ["scaled_batch_sizes", "draw_weights", "proportional"]
    assert [phase.rows_per_epoch for phase in config.phases] == [7, 7, 7]
    phases = config.to_dict()["phases"]
    assert phases[1]["sampling"]["draw_weights"] == {"sst": 2, "quora": 2, "sts": 2}
    assert phases[2]["sampling"]["merged_batches"] == 2
    assert config.combination.name == "loss_weights"
    assert config.to_dict()["combination"]["loss_weights"] == {"sst": 2, "quora": 2, "sts": 2}
    assert config.tracking.extra == {"weights": "old"}
    assert with_present_names(config.to_dict()) == config.to_dict()


@pytest.mark.parametrize("overall", [None, 1.788])
def test_published_scores_of_older_runs_were_of_dev_rows(overall: float | None) -> None:
    tree = load_recipe("b-cosine-siar-adamw").to_dict()
    scores = tree["source"]["scores"]["dev"]
    tree["source"] |= {"scores": scores, "overall": overall}
    source = parse_written(tree, "test").source
    assert source is not None
    assert (source.scores, source.overall) == ({"dev": scores}, {"dev": overall} if overall else {})
    with pytest.raises(UserError, match=r"source\.scores"):
        parse_config(tree, "test")
