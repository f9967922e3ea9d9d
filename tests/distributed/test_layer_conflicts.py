"""How tasks get along in each layer: what two ranks tell is what one process tells, and telling it changes nothing."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from multitask.config import parse_config
from multitask.data import prepare_tables
from multitask.trainer.trainer import Trainer
from tests.builders import tiny_config
from tests.distributed.one_process import plain_trajectory
from tests.distributed.ranks import fork_ranks

STEPS = 3


def _tree(folder: Path, bert: Path, every: int | None, **combination: Any) -> dict[str, Any]:
    return tiny_config(
        folder,
        encoder={"name": str(bert)},
        combination={"name": "pcgrad", **combination},
        training={"layer_conflicts_every": every},
        optimizer={"name": "adamw", "lr": 1e-3, "eps": 1e-4},
    )


def _told(trainer: Any, record: Any) -> dict[str, float]:
    return {key: value for key, value in record.take(trainer.progress).items() if key.startswith("combination/")}


def be_rank(place: str) -> None:
    """Train and write what is told of it; ends the process."""
    from cluster.step.stopwatch import Stopwatch
    from cluster.storage.run_folder import RunFolder
    from cluster.training.loop import Run
    from cluster.training.session import LocalSession
    from cluster.training.worker import open_tables
    from multitask.trainer.record import TrainRecord

    torch.set_num_threads(1)
    session, job = LocalSession("cpu"), Path(place)
    config = parse_config(json.loads(job.read_text()), "job")
    run = Run(config, session, RunFolder.of(config), open_tables(config, session), Stopwatch(session.device))
    run.engine.deepspeed.train()
    record = TrainRecord()
    for _ in range(STEPS):
        run.train_step(record)
    if session.rank == 0:
        job.with_suffix(".told").write_text(json.dumps(_told(run, record)))
    session.close()
    sys.stdout.flush()
    # gloo's threads sometimes abort the interpreter's exit, after all work is done.
    os._exit(0)


def _plain(tree: dict[str, Any]) -> tuple[Trainer, dict[str, float]]:
    torch.set_num_threads(1)
    config = parse_config(tree, "test")
    trainer = Trainer(config, prepare_tables(config), torch.device("cpu"))
    for _ in range(STEPS):
        trainer.train_step()
    return trainer, _told(trainer, trainer.record)


@pytest.mark.parametrize(("world", "stage"), [(1, 1), (2, 2), (2, 3)])
def test_ranks_tell_what_one_process_tells(folder: Path, tiny_bert: Path, world: int, stage: int) -> None:
    tree = _tree(folder, tiny_bert, 2) | {"zero": {"stage": stage}}
    job = folder / f"layers-{world}-{stage}.json"
    job.write_text(json.dumps(tree))
    for code, output in fork_ranks(world, be_rank, (str(job),), folder):
        assert code == 0, output[-6000:]
    found, (_, wanted) = json.loads(job.with_suffix(".told").read_text()), _plain(tree)
    assert sum("layer_cosine" in key for key in wanted) == 3 * 3
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def test_layers_come_to_the_whole_and_are_autograds(folder: Path, tiny_bert: Path) -> None:
    config = parse_config(_tree(folder, tiny_bert, 1), "test")
    trainer = Trainer(config, prepare_tables(config), torch.device("cpu"))
    model, work = trainer.model, trainer.source.share(trainer.schedule.round(0))
    shared = model.shared_parameters()
    losses = [model.row_losses(task, micros[0].batch).mean() for task, micros in work.batches.items()]
    gradients = [torch.autograd.grad(loss, list(shared.values()), allow_unused=True) for loss in losses]
    wanted = {name: torch.zeros(3, 3) for name in ("embeddings", "layer_01", "layer_02")}
    for at, name in enumerate(shared):
        layer = next((f"layer_0{n + 1}" for n in (0, 1) if f"layer.{n}." in name), "embeddings")
        rows = torch.stack([torch.zeros(1) if own[at] is None else own[at].flatten() for own in gradients])
        wanted[layer] += rows @ rows.T
    result = trainer.train_step()
    assert list(result.layers) == list(wanted)
    for layer, gramian in result.layers.items():
        torch.testing.assert_close(gramian, wanted[layer], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(sum(result.layers.values()), result.gramian, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("granularity", ["encoder", "parameter"])
def test_looking_changes_nothing(folder: Path, tiny_bert: Path, granularity: str) -> None:
    looking, blind = (
        plain_trajectory(_tree(folder, tiny_bert, every, granularity=granularity), STEPS) for every in (1, None)
    )
    assert all(torch.equal(looking[name], value) for name, value in blind.items())
    configs = [parse_config(_tree(folder, tiny_bert, every), "test") for every in (1, None)]
    assert configs[0].trajectory_hash() == configs[1].trajectory_hash()


def test_one_gradient_of_all_tasks_cannot_be_looked_at(folder: Path, tiny_bert: Path) -> None:
    from multitask.errors import UserError

    tree = _tree(folder, tiny_bert, 5) | {"combination": {"name": "uncertainty"}}
    with pytest.raises(UserError, match=r"training.layer_conflicts_every compares .* combination.name=uncertainty"):
        parse_config(tree, "test")
