"""Ranks share out the rows of an evaluation: scores are those of one process to the bit, and each row is sent once."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import build_tiny_bert, tiny_config
from tests.distributed.ranks import fork_ranks


def _tree(folder: Path) -> dict[str, Any]:
    tree = tiny_config(folder, training={"score_train_rows": 7})
    tree["tasks"]["sst"]["files"]["dev_train"] = ["sst-train.csv"]
    tree["tasks"]["pairs"] = {
        "kind": {"name": "contrastive"},
        "columns": {"text": "sentence1", "text_pair": "sentence2"},
        "files": {split: [f"quora-{split}.csv"] for split in ("train", "dev")},
        "format": "cs224n",
        "auxiliary": True,
    }
    return tree


def work(path: Path) -> None:
    """One rank: evaluates a fresh model, and writes what it has and what it gave to others."""
    import torch
    import torch.distributed as dist

    from cluster.training.dev_evaluation import evaluate_dev
    from cluster.training.session import LocalSession
    from multitask.config import parse_config
    from multitask.data import prepare_tables
    from multitask.evaluation import evaluate as _  # noqa: F401
    from multitask.model import build_model

    torch.set_num_threads(1)
    sys.modules["multitask.evaluation.evaluate"].BATCH_TOKENS = 60  # type: ignore[attr-defined]
    session, config = LocalSession("cpu"), parse_config(json.loads(path.read_text()), "test")
    given, gather = [], dist.gather

    def counted(tensor: Any, *rest: Any, **named: Any) -> Any:
        given.append(tensor.nbytes)
        return gather(tensor, *rest, **named)

    dist.gather = counted
    tables = prepare_tables(config)
    found = evaluate_dev(build_model(config), config, tables, session.device)
    has_rows = bool(found.tables) or bool(found.predictions)
    rows = {task: own.predictions.tolist() for task, own in found.predictions.items()}
    told = {"scores": found.scores, "rows": rows, "tables": found.tables, "given": given, "has_rows": has_rows}
    path.with_name(f"{session.world}-{session.rank}.json").write_text(json.dumps(told))
    session.close()
    os._exit(0)


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[tuple[int, int], dict[str, Any]]:
    """By number of ranks and rank."""
    build_tiny_bert(folder / "encoder")
    job = folder / "job.json"
    job.write_text(json.dumps(_tree(folder)))
    for world in (1, 2, 3):
        for code, output in fork_ranks(world, work, (job,), folder):
            assert code == 0, output[-4000:]
    return {(n, r): json.loads((folder / f"{n}-{r}.json").read_text()) for n in (1, 2, 3) for r in range(n)}


def test_all_ranks_have_the_scores_of_one_process(told: dict[tuple[int, int], dict[str, Any]]) -> None:
    alone = told[1, 0]["scores"]
    assert {"dev/mean", "dev/sst/auc", "dev/sts/spearman", "dev/pairs/mrr", "dev_train/sst/accuracy"} <= set(alone)
    assert "train/sts/pearson" in alone
    assert all(own["scores"] == alone for own in told.values())


def test_rank_zero_alone_has_the_rows_and_their_tables(told: dict[tuple[int, int], dict[str, Any]]) -> None:
    for (_, rank), own in told.items():
        assert own["has_rows"] == (rank == 0)
        if rank == 0:
            assert own["rows"] == told[1, 0]["rows"]
            assert own["tables"] == told[1, 0]["tables"]


@pytest.mark.parametrize("world", [2, 3])
def test_a_rank_gives_its_own_rows_once(folder: Path, told: dict[tuple[int, int], dict[str, Any]], world: int) -> None:
    """Of each table one message; together they hold the rows, and what makes them as long as the longest."""
    from multitask.config import parse_config
    from multitask.data import prepare_tables

    tables = prepare_tables(parse_config(_tree(folder), "test"))
    # A class and five chances; a class and two; a number; two texts of width 32 and their keys.
    row = {"sst": 8 + 5 * 4, "quora": 8 + 2 * 4, "sts": 4, "pairs": 2 * 32 * 4 + 2 * 8}
    wanted = [(tables.dev[task].rows, row[task]) for task in tables.dev]
    wanted += [(table.rows, row[task]) for _, task, table in tables.further()]
    wanted += [(7, row[task]) for task in ("sst", "quora", "sts")]
    given = np.array([told[world, rank]["given"] for rank in range(world)])
    assert given.shape == (world, len(wanted))
    assert told[1, 0]["given"] == []
    for own, (rows, size) in zip(given.T, wanted, strict=True):
        assert len(set(own)) == 1, "one message of the same length from each"
        assert rows * size <= own.sum() < 2 * rows * size + world * size
