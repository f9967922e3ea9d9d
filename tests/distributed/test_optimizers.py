"""Optimizers of the library under ZeRO: what they do to whole tensors in the plain trainer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_optimizer import load_optimizer

from multitask.config import parse_config
from multitask.config.training import LibraryOptimizer
from multitask.model import build_model
from multitask.optimization import parameter_groups, runs_on_flat_shards
from multitask.optimization.library import ELEMENTWISE
from tests.builders import merge, tiny_config
from tests.distributed.one_process import plain_trajectory
from tests.distributed.ranks import run_ranks

STEPS = 4
LR = 2e-3
CASES: dict[str, dict[str, Any]] = {
    "lamb": {"options": {"eps": 1e-4}},
    "adamax": {"options": {"eps": 1e-4}},
    "qhadam": {"options": {"nus": [0.7, 1.0], "eps": 1e-4}},
    "muon": {"options": {"adamw_lr": 1e-3, "adamw_eps": 1e-4}},
    "adafactor": {"options": {"relative_step": False, "warmup_init": False, "scale_parameter": True}},
    "lars": {},
    "adamw": {"eps": 1e-4, "eps_hat": True},
}
GRID = {
    1: [("lamb", 1), ("lamb", 3)],
    2: [(name, 1) for name in CASES] + [("lamb", 2), ("lamb", 3), ("muon", 3), ("adamw", 2), ("adamw", 3)],
    3: [("lamb", 1), ("lamb", 2), ("lamb", 3), ("adafactor", 2), ("adamax", 3)],
}


def _job(folder: Path, bert: Path, name: str, stage: int) -> dict[str, Any]:
    tree = tiny_config(
        folder,
        encoder={"name": str(bert)},
        combination={"name": "pcgrad"},
        training={"clip_norm": 1.0},
        zero={"stage": stage},
    )
    return merge(tree, {"optimizer": {"name": name, "lr": LR, **CASES[name]}})


@pytest.fixture(scope="module")
def wanted(folder: Path, tiny_bert: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {name: plain_trajectory(_job(folder, tiny_bert, name, 1), STEPS) for name in CASES}


@pytest.mark.parametrize("world", list(GRID))
def test_ranks_equal_whole_tensors_in_one_process(
    world: int, folder: Path, tiny_bert: Path, wanted: dict[str, dict[str, torch.Tensor]]
) -> None:
    jobs = [_job(folder, tiny_bert, name, stage) for name, stage in GRID[world]]
    results = run_ranks(world, jobs, folder / f"world{world}", STEPS)
    start = {n: p.detach() for n, p in build_model(parse_config(jobs[0], "test")).named_parameters()}
    wrong = []
    for (name, stage), result in zip(GRID[world], results, strict=True):
        for parameter, value in wanted[name].items():
            moved = (value - start[parameter]).abs().max().item()
            error = (torch.from_numpy(result[parameter]).reshape(value.shape) - value).abs().max().item()
            # Muon's own iteration is in bf16, which turns rounding errors of its input into per cents.
            if error > (0.06 if name == "muon" else 2e-3) * moved + 4e-6:
                wrong.append(f"{name} zero{stage} {parameter}: {error:.2e}, moved {moved:.2e}")
    assert not wrong, "\n".join(wrong[:20])


def test_trust_ratio_on_one_flat_shard_would_be_another(folder: Path, tiny_bert: Path, wanted: dict[str, Any]) -> None:
    """What ZeRO gives LAMB by itself: all of a group's parameters as one. The reference must tell them apart."""
    config = parse_config(_job(folder, tiny_bert, "lamb", 1), "test")
    model = build_model(config)
    gradients = {n: torch.randn_like(p) for n, p in model.named_parameters()}
    groups = parameter_groups(model, config)
    flat = [torch.nn.Parameter(torch.cat([p.detach().reshape(-1) for p in g["params"]])) for g in groups]
    whole = load_optimizer("lamb")([p for g in groups for p in g["params"]], lr=LR)
    shards = load_optimizer("lamb")(flat, lr=LR)
    for group, shard in zip(groups, flat, strict=True):
        own = [gradients[n] for n in group["names"]]
        for p, g in zip(group["params"], own, strict=True):
            p.grad = g
        shard.grad = torch.cat([g.reshape(-1) for g in own])
    whole.step()
    shards.step()
    together = torch.cat([p.detach().reshape(-1) for p in groups[0]["params"]])
    assert (together - flat[0].detach()).abs().max() > 1e-4


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_elementwise_optimizers_do_not_care_how_tensors_are_cut(name: str) -> None:
    assert runs_on_flat_shards(LibraryOptimizer(name=name))
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(3, 5, generator=generator), torch.randn(7, generator=generator)]
    apart = [torch.nn.Parameter(t.clone()) for t in start]
    flat = torch.nn.Parameter(torch.cat([t.reshape(-1) for t in start]))
    optimizers = [load_optimizer(name)(p, lr=0.05, weight_decay=0.1) for p in (apart, [flat])]
    for _ in range(20):
        for p in apart:
            p.grad = torch.randn(p.shape, generator=generator)
        flat.grad = torch.cat([p.grad.reshape(-1) for p in apart if p.grad is not None])
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(torch.cat([p.detach().reshape(-1) for p in apart]), flat.detach())


RESUMED = ("lamb", "qhadam", "adamw", "per-task", "lamb-per-task")
SEQUENTIAL = [{"sampling": {"name": "sequential"}}]


def _resumable(folder: Path, bert: Path, name: str, stage: int, storage: str) -> dict[str, Any]:
    if name.endswith("per-task"):
        optimizer = {"name": "lamb" if name.startswith("lamb") else "adamw", "lr": LR, "per_task": True}
        changes = {"optimizer": optimizer, "phases": SEQUENTIAL, "combination": {"name": "sum"}}
    else:
        changes = {"optimizer": {"name": name, "lr": LR, **CASES[name]}}
    tasks = {task: {"train_rows": 12} for task in ("sst", "quora", "sts")}
    tree = tiny_config(folder, encoder={"name": str(bert), "dropout": 0.1}, zero={"stage": stage}, tasks=tasks)
    tree = {**tree, "combination": {"name": "pcgrad"}, **changes}
    tree["phases"] = [{**tree["phases"][0], "epochs": 3}]
    return merge(tree, {"cluster": {"storage": str(folder / storage)}, "name": f"{name}-zero{stage}"})


def _equal(first: dict[str, Any], second: dict[str, Any], places: int | None = None) -> list[str]:
    if places is None:
        return [n for n in first if not n.startswith("dev/") and not (first[n] == second[n]).all()]
    return [n for n in first if not n.startswith("dev/") and abs(first[n] - second[n]).max() > 10.0**-places]


@pytest.mark.parametrize("stage", [1, 3])
def test_interrupted_equals_uninterrupted_to_the_bit_and_other_ranks_take_over(
    stage: int, folder: Path, tiny_bert: Path
) -> None:
    whole = [_resumable(folder, tiny_bert, name, stage, f"whole{stage}") for name in RESUMED]
    parts = [_resumable(folder, tiny_bert, name, stage, f"parts{stage}") for name in RESUMED]
    steps = 5
    uninterrupted = run_ranks(2, whole, folder / f"u{stage}", steps)
    run_ranks(2, parts, folder / f"first{stage}", 3, save=True)
    resumed = run_ranks(2, parts, folder / f"second{stage}", steps)
    for name, one, other in zip(RESUMED, uninterrupted, resumed, strict=True):
        assert not _equal(one, other), name
    if stage == 3:
        return
    # Dropout's masks are those of the ranks, so that another number of ranks agrees without it only.
    moved = [
        merge(tree, {"encoder": {"dropout": 0.0}, "cluster": {"storage": f"{tree['cluster']['storage']}x"}})
        for tree in parts
    ]
    run_ranks(2, moved, folder / f"third{stage}", 3, save=True)
    alone = run_ranks(1, moved, folder / f"fourth{stage}", steps)
    together = run_ranks(2, moved, folder / f"fifth{stage}", steps)
    for name, one, other in zip(RESUMED, alone, together, strict=True):
        assert not _equal(one, other, 4), name


def test_every_task_has_its_own_moments_as_in_the_plain_trainer(folder: Path, tiny_bert: Path) -> None:
    optimizer = {"name": "adamw", "lr": LR, "eps": 1e-4, "per_task": True}
    tasks = {task: {"train_rows": 12} for task in ("sst", "quora", "sts")}
    phases = [{"sampling": {"name": "sequential"}, "epochs": 3}]
    tree = tiny_config(folder, encoder={"name": str(tiny_bert)}, tasks=tasks, phases=phases, name="separate")
    tree |= {"optimizer": optimizer, "combination": {"name": "sum"}}
    wanted = plain_trajectory(tree, 14)
    jobs = [merge(tree, {"zero": {"stage": stage}}) for stage in (1, 3)]
    for result in run_ranks(2, jobs, folder / "separate", 14):
        for name, value in wanted.items():
            error = (torch.from_numpy(result[name]).reshape(value.shape) - value).abs().max().item()
            assert error <= 3e-5 * value.abs().max().item() + 2e-6, name
