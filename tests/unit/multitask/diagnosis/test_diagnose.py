"""The probe on tiny tasks, and on two that want the opposite."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from multitask.config import parse_config
from multitask.data import prepare_tables
from multitask.diagnosis import Diagnosis, diagnose
from multitask.diagnosis.probe import Probe, Start
from multitask.errors import UserError
from multitask.trainer.trainer import Trainer
from tests.builders import merge
from tune_spaces import open_space

CPU = torch.device("cpu")
# No head to learn: the score is 5 / (1 + exp(−c)) of the cosine c, at most 3.7 and at least 1.3.
COSINE = {"pair_encoding": {"name": "bi_encoder", "features": "cosine"}, "head": {"name": "scaled", "scale": "sigmoid"}}


def _opposite(tree: dict[str, Any]) -> dict[str, Any]:
    """Two tasks on the same pairs, whose scores say that all are alike (4 … 5), or that all are not (0 … 1)."""
    folder, tasks = Path(tree["data"]["root"]), {}
    for task, least in (("alike", 4), ("apart", 0)):
        for split in ("train", "dev"):
            with (folder / f"sts-{split}.csv").open(newline="") as file:
                header, *rows = csv.reader(file, delimiter="\t")
            place = header.index("similarity")
            rows = [[*row[:place], str(least + float(row[place]) / 5), *row[place + 1 :]] for row in rows]
            with (folder / f"{task}-{split}.csv").open("w", newline="") as file:
                csv.writer(file, delimiter="\t").writerows([header, *rows])
        files = {split: [f"{task}-{split}.csv"] for split in ("train", "dev")}
        tasks[task] = tree["tasks"]["sts"] | COSINE | {"files": files}
    return {**tree, "tasks": tasks, "combination": {"name": "sum"}}


def test_halves_come_to_the_gramian_of_the_step(tiny_tasks: dict[str, Any]) -> None:
    tree = merge(tiny_tasks, {"combination": {"name": "pcgrad"}, "encoder": {"dropout": 0.1}})
    config = parse_config(tree, "test")
    tables = prepare_tables(config)
    look = next(iter(Probe(config, tables, 2, 1, CPU).run(lambda done: None)))
    step = Trainer(config, tables, CPU).train_step()
    assert step.gramian is not None
    torch.testing.assert_close(look.whole.sum(0), step.gramian.double(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(look.losses, torch.tensor(list(step.losses.values())).double(), rtol=1e-5, atol=0)
    assert len(look.inner) == 3  # embeddings and two layers


@pytest.mark.parametrize("changes", [{"training": {"check_every": 5}}, {"precision": "fp16"}])
def test_recipe_that_is_looked_at_later_or_overflows_is_looked_at_all_the_same(
    tiny_tasks: dict[str, Any], changes: dict[str, Any]
) -> None:
    tree = merge(tiny_tasks, {"combination": {"name": "sum"}} | changes)
    found = diagnose(parse_config(tree, "test"), steps=2, every=1)
    assert {"pcgrad", "cagrad", "famo"} <= {own.name for own in found.methods}
    assert all(math.isfinite(pair.cosine) for pair in found.pairs)


@pytest.fixture(scope="module")
def opposite() -> Callable[[dict[str, Any]], Diagnosis]:
    kept: list[Diagnosis] = []

    def found(tree: dict[str, Any]) -> Diagnosis:
        if not kept:
            kept.append(diagnose(parse_config(_opposite(tree), "test"), steps=12, every=1))
        return kept[0]

    return found


def test_tasks_that_want_the_opposite_are_found(
    tiny_tasks: dict[str, Any], opposite: Callable[[dict[str, Any]], Diagnosis]
) -> None:
    found = opposite(tiny_tasks)
    (pair,) = found.pairs
    assert pair.is_real
    assert pair.cosine < -0.2
    assert pair.both > pair.chance or pair.both == 1
    assert "Surgery can matter here" in found.verdict[0]
    assert found.try_next[0] == "sum"
    assert "pcgrad" in found.try_next
    methods = {own.name: own for own in found.methods}
    assert methods["sum"].to_sum == pytest.approx(1)
    # What projects on the cone of no harm does none.
    assert methods["upgrad"].harm == 0


def test_the_space_it_writes_can_be_searched(
    tiny_tasks: dict[str, Any], opposite: Callable[[dict[str, Any]], Diagnosis], tmp_path: Path
) -> None:
    found, base = opposite(tiny_tasks), parse_config(tiny_tasks, "test")
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(found.space(base.optimizer.lr)))
    space = open_space(str(tmp_path / "space.yaml"), base)
    assert set(space.describe()["parameters"]) == {"combination.name", "optimizer.lr"}
    json.dumps(found.to_dict(), allow_nan=False)


def test_looks_begin_after_some_steps_or_from_a_runs_weights(tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    config = parse_config(merge(tiny_tasks, {"combination": {"name": "sum"}, "encoder": {"dropout": 0.1}}), "test")
    tables = prepare_tables(config)
    later = list(Probe(config, tables, 2, 1, CPU, after=3).run(lambda done: None))
    whole = list(Probe(config, tables, 5, 1, CPU).run(lambda done: None))
    assert [look.step for look in later] == [3, 4]
    assert all(torch.equal(one.inner, other.inner) for one, other in zip(later, whole[3:], strict=True))
    trainer = Trainer(config, tables, CPU)
    for _ in range(3):
        trainer.train_step()
    weights = {name: value.flatten() for name, value in trainer.step.weights.copy().items()}
    first = next(iter(Probe(config, tables, 2, 1, CPU, start=Start(weights, 3, "run")).run(lambda done: None)))
    assert first.step == 3
    torch.testing.assert_close(first.inner, whole[3].inner, rtol=1e-3, atol=1e-7)
    ended = Probe(config, tables, 2, 1, CPU, start=Start(weights, 10**6, "run"))
    assert (ended.begin, ended.end) == (trainer.schedule.steps - 2, trainer.schedule.steps)
    del weights["encoder.model.embeddings.word_embeddings.weight"]
    with pytest.raises(UserError, match=r"run and the recipe do not belong together, they differ in encoder.model.emb"):
        Probe(config, tables, 2, 1, CPU, start=Start(weights, 3, "run"))
    with pytest.raises(UserError, match=r"none is left after 1000000"):
        Probe(config, tables, 2, 1, CPU, after=10**6)


def test_one_task_a_step_is_refused(tiny_tasks: dict[str, Any]) -> None:
    tree = {**tiny_tasks, "combination": {"name": "sum"}, "phases": [{"sampling": {"name": "sequential"}}]}
    with pytest.raises(UserError, match=r"none of the 4 steps trains several tasks"):
        diagnose(parse_config(tree, "test"), steps=4, every=1)


def test_the_command_tells_and_writes(
    tiny_tasks: dict[str, Any], concord: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(yaml.safe_dump(tiny_tasks))
    done = concord("diagnose", "recipe.yaml", "--steps", "6", "--every", "2", "-o", "page.html", "--space", "own.yaml")
    assert done.code == 0, done.err
    for wanted in ("How tasks get along", "pcgrad", "Worth a sweep: sum", "concord sweep recipe.yaml --space own.yaml"):
        assert wanted in done.out
    assert "minutes to go" in done.err
    page = Path("page.html").read_text()
    assert page.count("<svg") == 3
    assert "Where tasks meet" in page
    assert yaml.safe_load(Path("own.yaml").read_text())["parameters"]["combination.name"]["choice"][0] == "sum"
    refused = concord("diagnose", "recipe.yaml", "--steps", "2", "--every", "1", "-o", "none/page.html")
    assert refused.code == 2
    assert "--output: cannot write none/page.html" in refused.err
