"""The real step in fp16: unscaled before anything reads a gradient, and the plain trainer's, overflows included."""

from typing import Any

import pytest
import torch
from torch import Tensor

from cluster.step.exchange import GradientExchange
from cluster.step.stopwatch import Stopwatch
from cluster.storage.run_folder import RunFolder
from cluster.training.loop import Run
from cluster.training.session import LocalSession
from cluster.training.worker import open_tables
from multitask.config import parse_config
from multitask.data import prepare_tables
from multitask.objectives import rows
from multitask.trainer.record import TrainRecord
from multitask.trainer.trainer import Trainer
from tests.builders import merge

PAIRS = {
    "kind": {"name": "contrastive"},
    "columns": {"id": "id", "text": "sentence1", "text_pair": "sentence2"},
    "files": {"train": ["quora-train.csv"]},
    "format": "cs224n",
}
CASES: dict[str, dict[str, Any]] = {
    "sum, clipped": {"combination": {"name": "sum"}, "training": {"clip_norm": 0.5}},
    "pcgrad": {"combination": {"name": "pcgrad"}},
    "pcgrad of all, by layer": {"combination": {"name": "cagrad", "granularity": "layer"}},
    "graddrop": {"combination": {"name": "graddrop"}},
    "gradnorm": {"combination": {"name": "gradnorm"}},
    "famo": {"combination": {"name": "famo"}},
    "contrastive in parts": {"tasks": {"pairs": PAIRS}, "training": {"accumulation": 2}},
    "smart": {"regularization": {"smart": {"noise": 1e-2}}},
    "bf16 on the wire": {"cluster": {"wire": "bf16"}},
}


def run_of(tree: dict[str, Any]) -> Run:
    config, session = parse_config(tree, "test"), LocalSession("cpu")
    run = Run(config, session, RunFolder.of(config), open_tables(config, session), Stopwatch(session.device))
    run.restore()
    run.engine.deepspeed.train()
    return run


def weights(run: Run) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in run.engine.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("case", CASES)
def test_step_is_the_plain_trainers(case: str, tiny_tasks: dict[str, Any]) -> None:
    """From a scale whose first steps overflow."""
    # Adam divides rounding errors by their own size where a gradient is zero; eps keeps them small.
    base = {"precision": "fp16", "optimizer": {"lr": 1e-3, "eps": 1e-4}}
    tree = merge(merge(tiny_tasks, base), CASES[case])
    in_parts = "in parts" in case
    config = parse_config(merge(tree, {"training": {"accumulation": 1}}), "test")
    plain, run = Trainer(config, prepare_tables(config), torch.device("cpu")), run_of(tree)
    if in_parts:
        # A part of a batch has a part of its gradient, and overflows later.
        run.step.loss_scale.value = plain.step.loss_scale.value = 2.0**10
    start, record, results = weights(run), TrainRecord(), []
    for _ in range(8):
        run.train_step(record)
        results.append(plain.train_step())
        assert run.step.loss_scale.state_dict() == plain.step.loss_scale.state_dict()
    assert run.progress.overflowed_steps == plain.progress.overflowed_steps == sum(r.overflowed for r in results)
    assert any(r.applied for r in results)
    assert any(r.overflowed for r in results) or in_parts
    own, found = record.take(run.progress), weights(run)
    theirs = plain.record.take(plain.progress)
    for name in theirs:
        if not name.startswith("throughput/"):
            assert own[name] == pytest.approx(theirs[name], rel=2e-2, abs=1e-4), name
    moved = torch.cat([(value - start[name]).flatten() for name, value in plain.step.weights.copy().items()])
    ours = torch.cat([(found[name] - start[name]).flatten() for name in plain.step.weights.copy()])
    assert (ours - moved).norm() < 2e-2 * moved.norm()


def test_adversary_takes_its_gradient_under_the_scale(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, given, real = run_of(merge(tiny_tasks, CASES["smart"] | {"precision": "fp16"})), [], rows.worst_noise

    def spy(*arguments: Any) -> Tensor:
        given.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(rows, "worst_noise", spy)
    for _ in range(2):
        run.train_step(TrainRecord())
    assert given == [2.0**16] * 3 + [2.0**15] * 3


def test_overflow_in_a_head_alone_teaches_the_method_nothing(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(merge(tiny_tasks, {"combination": {"name": "gradvac"}, "precision": "fp16"}))
    run.step.loss_scale.value = 2.0**10
    real = GradientExchange.finish

    def finish(self: GradientExchange) -> tuple[list[Tensor], Tensor]:
        shards, head = real(self)
        at, size = next((at, size) for k, at, size in run.step._layout.own_heads(0, ("sst", "quora", "sts")) if k == 1)
        head[at : at + size] = torch.inf
        return shards, head

    monkeypatch.setattr(GradientExchange, "finish", finish)
    result = run.step.run(run.source.share(run.schedule.round(0)), 1e-3)
    assert (result.overflowed, result.culprits) == (True, ("quora",))
    assert run.combination.state_dict() == {}
    monkeypatch.setattr(GradientExchange, "finish", real)
    run.step.run(run.source.share(run.schedule.round(0)), 1e-3)
    assert run.combination.state_dict() != {}


def test_run_goes_on_to_the_bit_with_its_scale(tiny_tasks: dict[str, Any]) -> None:
    tree = merge(tiny_tasks, {"precision": "fp16"})
    whole, cut = run_of(tree | {"name": "whole"}), run_of(tree | {"name": "cut"})
    for run, steps in ((whole, 8), (cut, 5)):
        for _ in range(steps):
            run.train_step(TrainRecord())
    assert cut.progress.overflowed_steps > 0
    cut._save()
    cut.saver.wait()
    rest = run_of(tree | {"name": "cut"})
    assert rest.step.loss_scale.state_dict() == cut.step.loss_scale.state_dict()
    assert rest.progress.overflowed_steps == cut.progress.overflowed_steps
    for _ in range(3):
        rest.train_step(TrainRecord())
    wanted = weights(whole)
    assert all(torch.equal(value, wanted[name]) for name, value in weights(rest).items())
    assert rest.step.loss_scale.state_dict() == whole.step.loss_scale.state_dict()
