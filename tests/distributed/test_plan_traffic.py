"""The plan's bytes and messages, worked out from shapes, are those that processes count."""

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from cluster.scale.machine import machine
from cluster.scale.model_shape import model_shape
from cluster.scale.shares import Shares
from cluster.scale.simulation import Simulation
from multitask.config import parse_config
from multitask.data import prepare_tables
from tests.builders import tiny_config
from tests.distributed.ranks import fork_ranks

STEPS = 3


def _jobs(folder: Path, bert: Path) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = [
        {"combination": {"name": "sum"}},
        {"zero": {"stage": 2}},
        {"zero": {"stage": 3}},
        {"combination": {"name": "pcgrad", "granularity": "layer"}, "precision": "bf16"},
        {"training": {"accumulation": 3}, "optimizer": {"name": "adamw", "layer_decay": 0.9}},
        {"combination": {"name": "graddrop"}, "regularization": {"r_drop": {}}},
        {"cluster": {"host_first": False, "wire": "bf16"}},
    ]
    encoder = {"name": str(bert), "dropout": 0.1}
    return [tiny_config(folder, name=f"plan{n}", encoder=encoder, **own) for n, own in enumerate(changes)]


def count(path: Path) -> None:
    """One rank: trains and writes what it sent in each step, and what it owns."""
    import torch

    from cluster.step.stopwatch import Stopwatch
    from cluster.storage.run_folder import RunFolder
    from cluster.training.loop import Run
    from cluster.training.session import LocalSession
    from cluster.training.worker import open_tables
    from multitask.trainer.record import TrainRecord
    from tests.distributed.traffic import Traffic

    torch.set_num_threads(1)
    session, found = LocalSession("cpu"), []
    for tree in json.loads(path.read_text()):
        config = parse_config(tree, "job")
        run = Run(config, session, RunFolder.of(config), open_tables(config, session), Stopwatch(session.device))
        run.engine.deepspeed.train()
        steps = []
        for _ in range(STEPS):
            # What DeepSpeed sends under ZeRO 3 is not planned.
            with Traffic() if session.world > 1 and config.zero.stage < 3 else nullcontext() as traffic:
                run.train_step(TrainRecord())
            steps.append(traffic.calls if traffic else [])
        owned = {name: (part.start, part.size) for name, part in run.engine.partition.owned[session.rank].items()}
        found.append({"steps": steps, "owned": owned, "shards": run.engine.partition.group_sizes})
    (path.parent / f"rank{session.rank}.json").write_text(json.dumps(found))
    session.close()
    sys.stdout.flush()
    # gloo's threads sometimes abort the interpreter's exit, after all work is done.
    os._exit(0)


@pytest.fixture(scope="module", params=[(1, 1), (2, 2), (3, 3), (4, 4), (4, 2)])
def ranks(request: pytest.FixtureRequest) -> tuple[int, int]:
    """How many, and how many of them on a host."""
    found: tuple[int, int] = request.param
    return found


@pytest.fixture(scope="module")
def counted(ranks: tuple[int, int], folder: Path, tiny_bert: Path) -> list[list[dict[str, Any]]]:
    """By rank and job what the ranks told."""
    world, per_host = ranks
    place = folder / f"plan{world}-{per_host}"
    place.mkdir()
    (place / "jobs.json").write_text(json.dumps(_jobs(folder, tiny_bert)))
    for code, output in fork_ranks(world, count, (place / "jobs.json",), place, per_host=per_host):
        assert code == 0, output[-6000:]
    return [json.loads((place / f"rank{rank}.json").read_text()) for rank in range(world)]


def _simulation(tree: dict[str, Any]) -> Simulation:
    config = parse_config(tree, "test")
    return Simulation(config, prepare_tables(config).train, machine("h100", "200Gb", config.precision))


def test_plan_counts_what_ranks_send(
    ranks: tuple[int, int], counted: list[list[dict[str, Any]]], folder: Path, tiny_bert: Path
) -> None:
    for number, tree in enumerate(_jobs(folder, tiny_bert)):
        if tree.get("zero") == {"stage": 3}:
            continue
        simulation = _simulation(tree)
        for step in range(STEPS):
            calls = simulation.step(*ranks, step=step).collectives
            for rank, told in enumerate(counted):
                planned = sorted([c.kind, int(c.sent[rank]), c.messages] for c in calls)
                assert planned == sorted(told[number]["steps"][step]), (number, step, rank)


def test_shares_are_those_that_deepspeed_makes(
    counted: list[list[dict[str, Any]]], folder: Path, tiny_bert: Path
) -> None:
    for number, tree in enumerate(_jobs(folder, tiny_bert)):
        config = parse_config(tree, "test")
        shape = model_shape(config, "encoder")
        shares = Shares(shape.groups, len(counted), config.zero.stage)
        parts = {name: shares.fragment(name) for group in shape.groups for name in group}
        for rank, told in enumerate(counted):
            planned = {name: [int(low[rank]), int(size[rank])] for name, (low, size) in parts.items() if size[rank]}
            assert planned == told[number]["owned"]
            assert shares.shards == told[number]["shards"]
