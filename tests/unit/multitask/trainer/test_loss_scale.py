"""fp16: small gradients survive under a loss scale, and what overflows lowers it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import BertModel, BertTokenizer

import multitask
from multitask.config import parse_config
from multitask.config.regularization import Smart
from multitask.data import prepare_tables
from multitask.model import build_model
from multitask.objectives.adversary import worst_noise
from multitask.trainer.loss_scale import LossScale
from multitask.trainer.trainer import Trainer
from tests.builders import merge

PAIRS = {
    "kind": {"name": "contrastive"},
    "columns": {"id": "id", "text": "sentence1", "text_pair": "sentence2"},
    "files": {"train": ["quora-train.csv"]},
    "format": "cs224n",
}
COSENT = {
    "pair_encoding": {"name": "bi_encoder", "features": "cosine"},
    "head": {"name": "scaled"},
    "loss": {"name": "cosent"},
}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "cosent": {"tasks": {"sts": COSENT}},
    "contrastive": {"tasks": {"pairs": PAIRS}},
    "smart": {"regularization": {"smart": {"noise": 1e-2}}},
    "smart of mt_dnn": {"regularization": {"smart": {"adversary": "mt_dnn", "noise": 1e-2, "step_size": 1e-3}}},
    "r_drop": {"encoder": {"dropout": 0.1}, "regularization": {"r_drop": {}}},
}


def trainer_of(tree: dict[str, Any], scale: float | None = None) -> Trainer:
    config = parse_config(tree, "test")
    trainer = Trainer(config, prepare_tables(config), torch.device("cpu"))
    if scale is not None:
        trainer.step.loss_scale.value = scale
    return trainer


def gradients(trainer: Trainer, weight: float) -> dict[str, Tensor]:
    """Task to the gradient of `weight` times its loss in the first step, its head's included."""
    work = trainer.source.share(trainer.schedule.round(0))
    trainer.model.train()
    found = {}
    for task in work.round.tasks:
        own = trainer.step.task_gradient(task, work.batches[task], weight, trainer.step.trained_shared(), 0)
        found[task] = torch.cat([own.shared, *(part.flatten() for part in own.head.values())])
    return found


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("case", CASES)
def test_gradient_is_that_of_fp32_but_for_rounding(case: str, tiny_tasks: dict[str, Any]) -> None:
    tree = merge(tiny_tasks, CASES[case])
    wanted = gradients(trainer_of(tree), 1.0)
    for task, found in gradients(trainer_of(tree | {"precision": "fp16"}, 2.0**8), 1.0).items():
        # fp16 keeps 11 bits: 5e-4 of each of some hundred roundings on the way.
        assert 0 < error(found, wanted[task]) < 2e-2, task


@pytest.mark.parametrize("case", ["plain", "cosent", "contrastive", "r_drop"])
def test_gradients_too_small_for_fp16_survive_by_the_scale(case: str, tiny_tasks: dict[str, Any]) -> None:
    tree = merge(tiny_tasks, CASES[case])
    wanted = gradients(trainer_of(tree), 1e-6)
    fp16 = tree | {"precision": "fp16"}
    scaled, bare = gradients(trainer_of(fp16, 2.0**24), 1e-6), gradients(trainer_of(fp16, 1.0), 1e-6)
    for task, own in wanted.items():
        assert error(scaled[task], own) < 2e-2, task
        assert error(bare[task], own) > 0.1, task


@pytest.mark.parametrize(("scale", "moves"), [(1.0, False), (2.0**16, True)])
def test_adversary_finds_its_way_by_the_scale(scale: float, moves: bool) -> None:
    """Its gradient, 2 · 1e-5 · 1e-4, is nothing in fp16."""
    start, smart = torch.zeros(2, 3, 4), Smart(step_size=1.0, radius=None)
    head = SimpleNamespace(divergence=lambda raw, clean: (raw - clean).square().sum(-1))

    def perturbed(noise: Tensor) -> Tensor:
        return (noise.half() * 1e-4).float().flatten(1)

    noise = worst_noise(start, torch.full((2, 12), -1e-5), perturbed, cast(Any, head), smart, scale)
    assert torch.equal(noise, torch.full_like(noise, float(moves)))


def test_scale_moves_as_that_of_torch() -> None:
    """The same overflows in torch's own GradScaler: in the first steps, in the middle of a stretch, and just before its end."""
    overflows = {0, 1, 2, 1000, 3000, 5001, 5002}
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    theirs, ours = torch.amp.GradScaler("cpu"), LossScale("fp16")
    for step in range(9000):
        assert ours.value == theirs.get_scale(), step
        finite = step not in overflows
        theirs.scale(weight.sum()).backward()
        if not finite:
            assert weight.grad is not None
            weight.grad.fill_(torch.inf)
        theirs.step(optimizer)
        theirs.update()
        optimizer.zero_grad()
        assert ours.follow(finite=finite) == (not finite)
    assert ours.value == 2.0**16 / 2**7 * 2**2


def test_scale_stays_between_1_and_what_fp32_holds() -> None:
    scale = LossScale("fp16")
    blamed = [scale.follow(finite=False) for _ in range(20)]
    assert blamed == [True] * 16 + [False] * 4
    assert scale.value == 1
    scale.value = 2.0**127
    for _ in range(2000):
        scale.follow(finite=True)
    assert scale.value == 2.0**127
    other = LossScale("bf16")
    assert not other.follow(finite=False)
    assert (other.value, other.shown, other.state_dict()) == (1, None, {})


def test_overflow_leaves_the_step_out_halves_the_scale_and_is_no_failure(tiny_tasks: dict[str, Any]) -> None:
    tree = merge(tiny_tasks, {"precision": "fp16", "training": {"non_finite_limit": 0}})
    tree["phases"] = [tree["phases"][0] | {"steps_per_epoch": 30}]
    trainer = trainer_of(tree, 2.0**24)
    before, results = trainer.step.weights.copy(), [trainer.train_step()]
    after = trainer.step.weights.copy()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    while not results[-1].applied:
        results.append(trainer.train_step())
    assert [result.loss_scale for result in results] == [2.0 ** (24 - n) for n in range(len(results))]
    assert [result.overflowed for result in results] == [True] * (len(results) - 1) + [False]
    progress = trainer.progress
    assert (progress.overflowed_steps, progress.skipped_steps, progress.step) == (len(results) - 1, 0, len(results))
    record = trainer.record.take(progress)
    assert record["train/loss_scale"] == results[-1].loss_scale
    assert record["train/overflowed_steps"] == len(results) - 1
    assert record["train/grad_norm"] == pytest.approx(results[-1].norm)
    assert all(torch.isfinite(torch.tensor(value)) for value in record.values())


def test_what_is_not_finite_without_a_scale_is_a_failure(tiny_tasks: dict[str, Any]) -> None:
    trainer = trainer_of(merge(tiny_tasks, {"precision": "fp16", "training": {"non_finite_limit": 0}}), 4.0)
    with torch.no_grad():
        next(trainer.model.head("quora").parameters()).fill_(torch.nan)
    assert [trainer.train_step().overflowed for _ in range(2)] == [True, True]
    with pytest.raises(multitask.UserError, match="1 steps in a row, up to step 3, had a loss"):
        trainer.train_step()


def test_encoder_that_leaves_the_range_of_fp16_is_refused(tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    bert = BertModel.from_pretrained(tiny_tasks["encoder"]["name"])
    with torch.no_grad():
        bert.encoder.layer[0].intermediate.dense.weight *= 1e6
    bert.save_pretrained(tmp_path / "large")
    BertTokenizer.from_pretrained(tiny_tasks["encoder"]["name"]).save_pretrained(tmp_path / "large")
    tree = merge(tiny_tasks, {"encoder": {"name": str(tmp_path / "large")}})
    build_model(parse_config(tree | {"precision": "autocast"}, "test"))
    with pytest.raises(multitask.UserError, match=r"^precision: the states of this bert leave the range of fp16$"):
        build_model(parse_config(tree | {"precision": "fp16"}, "test"))


def test_training_goes_on_to_the_bit_with_its_scale(tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    tree = merge(tiny_tasks, {"precision": "fp16", "training": {"save_every": 2}})
    tree["phases"] = [tree["phases"][0] | {"steps_per_epoch": 8}]
    cut = merge(tree, {"training": {"stop_after": 4}})
    multitask.train(cut, folder=tmp_path / "cut", progress=False, device="cpu")
    state = json.loads((tmp_path / "cut/step-00000004/state.json").read_text())["loss_scale"]
    assert state["good_steps"] + state["value"] != 2.0**16
    rest = multitask.train(tree, folder=tmp_path / "cut", progress=False, device="cpu")
    whole = multitask.train(tree, folder=tmp_path / "whole", progress=False, device="cpu")
    assert all(torch.equal(rest.weights[name], value) for name, value in whole.weights.items())
    states = [json.loads((tmp_path / own / "step-00000008/state.json").read_text()) for own in ("cut", "whole")]
    assert states[0]["loss_scale"] == states[1]["loss_scale"]
    assert whole.scores == rest.scores
