"""A step waits for the device once: what would wait on a GPU is counted on the CPU."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor

from cluster.step import step as step_module
from cluster.step.stopwatch import Stopwatch
from cluster.storage.run_folder import RunFolder
from cluster.training.loop import Run
from cluster.training.session import LocalSession
from cluster.training.worker import open_tables
from multitask.config import parse_config
from multitask.data import Batch
from multitask.trainer.record import TrainRecord
from tests.builders import merge
from tests.waits import Waits

PAIRS = {
    "kind": {"name": "contrastive"},
    "columns": {"id": "id", "text": "sentence1", "text_pair": "sentence2"},
    "files": {"train": ["quora-train.csv"]},
    "format": "cs224n",
}
COSINE = {"pair_encoding": {"name": "bi_encoder", "features": "cosine"}, "head": {"name": "scaled"}}
CASES: dict[str, dict[str, Any]] = {
    "sum": {"combination": {"name": "sum"}},
    "loss_weights": {"combination": {"name": "loss_weights", "loss_weights": {"sst": 1, "quora": 2, "sts": 3}}},
    "dwa": {"combination": {"name": "dwa"}},
    "uncertainty": {"combination": {"name": "uncertainty"}},
    "famo": {"combination": {"name": "famo"}},
    "pcgrad": {"combination": {"name": "pcgrad"}},
    "pcgrad by layer, clipped": {
        "combination": {"name": "pcgrad", "granularity": "layer"},
        "training": {"clip_norm": 0.1},
    },
    "cagrad": {"combination": {"name": "cagrad"}},
    "accumulation": {"training": {"accumulation": 2}},
    "bf16": {"precision": "bf16"},
    "autocast": {"precision": "autocast"},
    "fp16": {"precision": "fp16"},
    "zero2": {"zero": {"stage": 2}},
    "dropout of rows": {"encoder": {"dropout": 0.1}},
    "dropout of ranks": {"encoder": {"dropout": 0.1, "dropout_key": "rank"}},
    "max_length": {"encoder": {"padding": "max_length"}},
    "r_drop": {"encoder": {"dropout": 0.1}, "regularization": {"r_drop": {}}},
    "smart": {"regularization": {"smart": {}}},
    "bregman": {"regularization": {"bregman": {}}},
    "lora": {"encoder": {"adapter": {"name": "lora"}}},
    "projected attention": {"encoder": {"adapter": {"name": "projected_attention", "width": 8, "heads": 2}}},
    "class weights": {"tasks": {"sst": {"loss": {"name": "focal", "class_weights": "balanced"}}}},
    "last token": {"encoder": {"pooling": "last"}},
    "max": {"encoder": {"pooling": "max"}},
    "all layers": {"encoder": {"pooling": "mean_layers"}},
    "cosent": {"tasks": {"sts": COSINE | {"loss": {"name": "cosent"}}}},
    "contrastive": {"tasks": {"pairs": PAIRS}},
    "contrastive in parts": {"tasks": {"pairs": PAIRS}, "training": {"accumulation": 2}},
}


def watched_run(tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Waits, Run]:
    """A run on the config tree after its first step, and what watches further ones."""
    config, session = parse_config(tree, "test"), LocalSession("cpu")
    run = Run(config, session, RunFolder.of(config), open_tables(config, session), Stopwatch(session.device))
    run.engine.deepspeed.train()
    run.train_step(TrainRecord())
    model, step = run.engine.model, run.step
    sums = step._exchange.sums
    kept = chain(model.parameters(), model.buffers(), run.engine.shards, run.engine.partition.masters)
    waits = Waits([*kept, sums.rows, sums.head])

    def placed(batch: Batch, device: torch.device) -> Batch:
        if batch.host is not None:
            return batch
        with waits.paused():
            parts: list[Tensor] = [waits.take(part.clone()) for part in batch._packed()]
        return batch._unpacked(parts)

    monkeypatch.setattr(Batch, "to", placed)
    monkeypatch.setattr(step_module, "to_host", waits.read)
    return waits, run


def watched_step(tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Waits:
    """The second step of a run on the config tree, watched."""
    waits, run = watched_run(tree, monkeypatch)
    # Nothing is left out, whatever the precision.
    run.step.loss_scale.value = min(run.step.loss_scale.value, 2.0**10)
    work = run.source.share(run.schedule.round(run.progress.step))
    with waits.watching():
        result = run.step.run(work, 1e-3)
    assert result.applied
    return waits


@pytest.mark.parametrize("case", CASES)
def test_step_waits_once(tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    waits = watched_step(merge(tiny_tasks, CASES[case]), monkeypatch)
    assert waits.found == []
    assert waits.reads == 1


def test_merging_of_coordinates_looks_at_the_norm_too(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = watched_step(tiny_tasks | {"combination": {"name": "graddrop"}}, monkeypatch)
    assert (waits.found, waits.reads) == ([], 2)


AHEAD = [
    *(
        "sum",
        "loss_weights",
        "accumulation",
        "bf16",
        "autocast",
        "zero2",
        "dropout of rows",
        "r_drop",
        "smart",
        "bregman",
    ),
    *("lora", "projected attention", "class weights", "cosent", "contrastive", "contrastive in parts"),
]


@pytest.mark.parametrize("case", AHEAD)
def test_steps_between_two_looks_do_not_wait_and_a_look_waits_once(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    ahead = {"combination": {"name": "sum"}, "training": {"check_every": 5, "clip_norm": 0.1}}
    waits, run = watched_run(merge(merge(tiny_tasks, ahead), CASES[case]), monkeypatch)
    record = TrainRecord()
    works = [run.source.share(run.schedule.round(step)) for step in range(1, 4)]
    with waits.watching():
        for work in works:
            assert run.looks.run(work, 1e-3, 0, run.progress, record)
        assert (waits.found, waits.reads) == ([], 0)
        assert run.looks.look(run.progress, record) is None
    assert (waits.found, waits.reads) == ([], 1)
    assert run.progress.tokens > 0


WAITING: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "numpy": lambda x: x.numpy(),
    "truth": lambda x: bool((x > 0).all()),
    "float": lambda x: float(x[0]),
    "mask": lambda x: x[x > 0],
    "assigned by a mask": lambda x: x.__setitem__(x > 0, 1.0),
    "nonzero": lambda x: (x > 0).nonzero(),
    "where": lambda x: torch.where(x > 0),
    "unique": lambda x: x.unique(return_inverse=True),
    "masked_select": lambda x: x.masked_select(x > 0),
    "repeats": lambda x: x.repeat_interleave(x.long()),
    "equal": lambda x: torch.equal(x, x + 1),
    "from a list": lambda x: torch.tensor([1.0], device=x.device),
    "new_tensor": lambda x: x.new_tensor([1.0]),
}


@pytest.mark.parametrize("name", WAITING)
def test_whatever_waits_is_found(name: str) -> None:
    waits = Waits([given := torch.arange(4.0)])
    host = torch.arange(4.0)
    with waits.watching():
        WAITING[name](given * 1 if "set" not in name else given)
        host.tolist()
        host[host > 0].unique()
    assert len(waits.found) == 1
    assert "test_waits.py" in waits.found[0]
