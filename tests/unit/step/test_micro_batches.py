"""A share that is cut by its tokens gives the same step; one that does not fit into memory says what to change."""

from typing import Any

import pytest
import torch

from cluster.step.stopwatch import Stopwatch
from cluster.storage.run_folder import RunFolder
from cluster.training.loop import Run
from cluster.training.session import LocalSession
from cluster.training.worker import open_tables
from multitask.config import parse_config
from multitask.errors import UserError
from multitask.trainer.record import TrainRecord
from tests.builders import merge

PAIRS = {
    "kind": {"name": "contrastive"},
    "columns": {"id": "id", "text": "sentence1", "text_pair": "sentence2"},
    "files": {"train": ["quora-train.csv"]},
    "format": "cs224n",
}


def _run(tree: dict[str, Any]) -> Run:
    config, session = parse_config(tree, "test"), LocalSession("cpu")
    run = Run(config, session, RunFolder.of(config), open_tables(config, session), Stopwatch(session.device))
    run.engine.deepspeed.train()
    return run


@pytest.mark.parametrize("method", ["sum", "pcgrad"])
def test_limit_of_tokens_leaves_the_step_as_it_is(tiny_tasks: dict[str, Any], method: str) -> None:
    own = {
        "encoder": {"dropout": 0.1},
        "tasks": {"pairs": PAIRS},
        "combination": {"name": method},
        # Adam divides rounding errors by their own size where a gradient is zero; eps keeps them small.
        "optimizer": {"eps": 1e-4},
    }
    weights, passes = [], []
    for limit in (None, 40):
        run = _run(merge(tiny_tasks, own | {"training": {"max_tokens_per_micro_batch": limit}}))
        passes.append(sum(len(micros) for micros in run.work.of(0).batches.values()))
        for _ in range(3):
            run.train_step(TrainRecord())
        weights.append(torch.cat([master.detach().clone() for master in run.engine.partition.masters]))
    assert passes[0] == 4
    assert passes[1] >= 8
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize(("limit", "said"), [(None, "set it to"), (200, "it is 200; lower it to")])
def test_batch_too_big_for_memory_is_told_in_one_line(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, limit: int | None, said: str
) -> None:
    run = _run(merge(tiny_tasks, {"training": {"max_tokens_per_micro_batch": limit}}))
    backward = torch.autograd.grad

    def full(*arguments: Any, **named: Any) -> Any:
        backward(*arguments, **named)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has …")

    monkeypatch.setattr(torch.autograd, "grad", full)
    batch = run.work.of(0).batches["sst"][0].batch
    rows, length = batch.input_ids.shape
    with pytest.raises(UserError) as told:
        run.train_step(TrainRecord())
    assert f"micro-batch of task sst, {rows} sequences × {length} tokens = {rows * length}: {said}" in str(told.value)
    assert str(told.value).startswith("training.max_tokens_per_micro_batch: ")
    assert "\n" not in str(told.value)


def test_limit_below_one_sequence_is_refused(tiny_tasks: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"training\.max_tokens_per_micro_batch must be data\.max_length=32 or more"):
        parse_config(merge(tiny_tasks, {"training": {"max_tokens_per_micro_batch": 31}}), "test")
