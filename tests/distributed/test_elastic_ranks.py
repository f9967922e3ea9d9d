"""The number of ranks changes in mid-run, twice: the trajectory of the plain trainer all the same."""

import os
from pathlib import Path
from typing import Any

import torch

from cluster.storage.checkpoint import find_checkpoint, read_state
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.training import loop
from cluster.training.session import LocalSession
from cluster.training.stop_request import PREEMPTION, RestartRequestedError
from cluster.training.worker import train
from multitask.config import parse_config
from multitask.data import prepare_tables
from multitask.trainer.record import TrainRecord
from multitask.trainer.trainer import Trainer
from tests.builders import tiny_config
from tests.distributed.ranks import fork_ranks, run_ranks

STAGES = (1, 2, 3)
# Ranks, and the step up to which so many train: a host is lost, then two join.
STRETCHES = ((2, 3), (1, 5), (3, 8))


def _tree(folder: Path, bert: Path, stage: int) -> dict[str, Any]:
    return tiny_config(
        folder,
        name=f"zero{stage}",
        encoder={"name": str(bert), "dropout": 0.1},
        zero={"stage": stage},
        combination={"name": "pcgrad"},
        phases=[{"sampling": {"name": "round_robin"}, "epochs": 3}],
        training={"clip_norm": 1.0},
        # Adam divides rounding errors by their own size where a gradient is zero (a key's bias, say); eps keeps them small.
        optimizer={"name": "adamw", "lr": 1e-3, "eps": 1e-4},
        cluster={"storage": str(folder / "elastic")},
    )


def test_ranks_that_come_and_go_equal_one_process(folder: Path, tiny_bert: Path) -> None:
    trees = [_tree(folder, tiny_bert, stage) for stage in STAGES]
    for world, steps in STRETCHES:
        results = run_ranks(world, trees, folder / f"to{steps}", steps, save=True)
    torch.set_num_threads(1)
    config = parse_config(trees[0], "test")
    alone = Trainer(config, prepare_tables(config), torch.device("cpu"))
    for _ in range(STRETCHES[-1][1]):
        assert alone.train_step().applied
    for stage, result in zip(STAGES, results, strict=True):
        for name, value in alone.step.weights.copy().items():
            found = torch.from_numpy(result[name]).reshape(value.shape)
            torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-6, msg=f"{name} under ZeRO {stage}")
        storage = Storage(str(folder / "elastic" / f"zero{stage}"))
        newest, _ = find_checkpoint(storage)
        assert newest is not None
        told = read_state(storage, newest)
        assert told["world"] == 3
        own = {key: told["progress"][key] for key in ("step", "rows", "tokens", "trained_steps")}
        assert own == {key: getattr(alone.progress, key) for key in own}


def _train_until_asked(tree: dict[str, Any], step: int) -> None:
    """One rank of a run whose rank 0 is asked to save and end once it has come to `step`."""
    config, session = parse_config(tree, "test"), LocalSession("cpu")
    asked: list[str] = []
    after_step = loop.Run._after_step

    def watch(run: loop.Run, record: TrainRecord) -> None:
        after_step(run, record)
        if run.progress.step == step and session.rank == 0:
            asked.append(PREEMPTION)

    loop.Run._after_step = watch  # type: ignore[method-assign]
    session.stop_reason = lambda: asked[0] if asked else None  # type: ignore[method-assign]
    try:
        train(config, session)
    except RestartRequestedError as error:
        newest, _ = find_checkpoint(RunFolder.of(config).storage)
        print(f"{error}: {newest}", flush=True)
    os._exit(0)


def test_all_ranks_save_and_end_before_the_same_step(folder: Path, tiny_bert: Path, tmp_path: Path) -> None:
    tree = _tree(folder, tiny_bert, 2) | {"name": "asked"}
    for code, output in fork_ranks(2, _train_until_asked, (tree, 7), tmp_path):
        assert code == 0, output
        assert output.splitlines()[-1] == f"{PREEMPTION}: checkpoints/step-00000008"
