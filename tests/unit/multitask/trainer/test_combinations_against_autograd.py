"""Combinations in the plain trainer beside autograd of the scalar that they stand for, or of what their papers do to gradients."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from multitask.config import RunConfig, parse_config
from multitask.data import prepare_tables
from multitask.keys import generator_key
from multitask.model import MultitaskModel, build_model
from multitask.sampling import Schedule
from multitask.work import WorkSource
from tests.builders import merge, tiny_config
from tests.distributed.one_process import plain_trajectory
from tests.straight_autograd import project_conflicts

STEPS, LR = 4, 1e-3
# Leaves `.grad` of every trained parameter: model, losses by task, step.
Fill = Callable[[MultitaskModel, dict[str, Tensor], int], None]


def _tree(folder: Path, bert: Path, combination: dict[str, Any]) -> dict[str, Any]:
    base = tiny_config(
        folder,
        encoder={"name": str(bert)},
        training={"clip_norm": None},
        optimizer={"name": "adamw", "lr": LR, "eps": 1e-4, "weight_decay": 0.0},
        schedule={"warmup": 0, "decay": "constant"},
    )
    return merge(base, {"combination": combination})


def _straight(tree: dict[str, Any], fill: Fill) -> dict[str, Tensor]:
    config: RunConfig = parse_config(tree, "test")
    tables = prepare_tables(config)
    source = WorkSource(config, tables.train, tables.pad_id, 0, 1, all_tasks=False)
    schedule, model = Schedule(config, source.sizes()), build_model(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, eps=1e-4, weight_decay=0.0)
    for step in range(STEPS):
        work = source.share(schedule.round(step))
        losses = {task: model.row_losses(task, micros[0].batch).mean() for task, micros in work.batches.items()}
        optimizer.zero_grad()
        fill(model, losses, step)
        optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def _same(folder: Path, bert: Path, combination: dict[str, Any], fill: Fill) -> None:
    tree = _tree(folder, bert, combination)
    found, wanted = plain_trajectory(tree, STEPS), _straight(tree, fill)
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        error = (found[name] - value).abs().max().item()
        assert error <= 1e-5 * value.abs().max().item() + 4e-7, f"{name}: {error:.2e}"


def _stacked(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values()))


def test_geometric_mean(folder: Path, tiny_bert: Path) -> None:
    _same(
        folder,
        tiny_bert,
        {"name": "geometric_mean"},
        lambda _, own, __: (3 * _stacked(own).prod() ** (1 / 3)).backward(),
    )


def test_smooth_tchebycheff(folder: Path, tiny_bert: Path) -> None:
    def fill(_: MultitaskModel, losses: dict[str, Tensor], __: int) -> None:
        (0.2 * (_stacked(losses) / 3 / 0.2).logsumexp(0)).backward()

    _same(folder, tiny_bert, {"name": "stch", "mu": 0.2}, fill)


def test_half_the_strength_is_half_of_the_sum(folder: Path, tiny_bert: Path) -> None:
    def fill(_: MultitaskModel, losses: dict[str, Tensor], step: int) -> None:
        mean = _stacked(losses).sum() / 2 + 1.5 * _stacked(losses).prod() ** (1 / 3)
        (mean if step >= 2 else _stacked(losses).sum()).backward()

    _same(folder, tiny_bert, {"name": "geometric_mean", "strength": 0.5, "after": 2}, fill)


@pytest.mark.parametrize("name", ["uncertainty", "imtl_l"])
def test_numbers_that_are_learned_with_the_model(folder: Path, tiny_bert: Path, name: str) -> None:
    scales = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = torch.optim.Adam([scales], lr=0.1)

    def fill(_: MultitaskModel, losses: dict[str, Tensor], __: int) -> None:
        own = _stacked(losses).double()
        optimizer.zero_grad()
        total = 0.5 * ((-scales).exp() * own + scales) if name == "uncertainty" else scales.exp() * own - scales
        total.sum().backward()
        optimizer.step()

    _same(folder, tiny_bert, {"name": name, "lr": 0.1}, fill)


def _rows(losses: dict[str, Tensor], of: list[nn.Parameter]) -> Tensor:
    """Gradients (K, P) of the losses, zero where a loss does not depend on a parameter."""
    found = [torch.autograd.grad(loss, of, retain_graph=True, allow_unused=True) for loss in losses.values()]
    return torch.stack(
        [
            torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in zip(own, of, strict=True)])
            for own in found
        ]
    )


def _give(combined: Tensor, to: list[nn.Parameter]) -> None:
    for p, part in zip(to, combined.split([p.numel() for p in to]), strict=True):
        p.grad = part.view_as(p).clone()


def _shared(model: MultitaskModel) -> list[nn.Parameter]:
    return list(model.shared_parameters().values())


@pytest.mark.parametrize("granularity", ["layer", "parameter"])
def test_each_block_has_a_surgery_of_its_own(folder: Path, tiny_bert: Path, granularity: str) -> None:
    def fill(model: MultitaskModel, losses: dict[str, Tensor], step: int) -> None:
        blocks: dict[int, list[nn.Parameter]] = {}
        for number, (name, p) in enumerate(model.shared_parameters().items()):
            blocks.setdefault(model.layer_of(name) if granularity == "layer" else number, []).append(p)
        rows = [_rows(losses, own) for own in blocks.values()]
        _stacked(losses).sum().backward()
        for block, (own, gradients) in enumerate(zip(blocks.values(), rows, strict=True)):
            _give(_projected(list(gradients), "pcgrad" if block == 0 else f"pcgrad {block}", step), own)

    _same(folder, tiny_bert, {"name": "pcgrad", "granularity": granularity}, fill)


def _projected(gradients: list[Tensor], name: str, step: int) -> Tensor:
    """PCGrad with the order that the block's generator draws."""
    generator = torch.Generator().manual_seed(generator_key(1, name, step))
    total = torch.zeros_like(gradients[0])
    for i, own in enumerate(gradients):
        projected = own.clone()
        for j in torch.randperm(len(gradients), generator=generator).tolist():
            inner = projected @ gradients[j]
            if j != i and inner < 0:
                projected = projected - inner / (gradients[j] @ gradients[j]) * gradients[j]
        total = total + projected
    return total


def test_weights_are_kept_between_two_looks(folder: Path, tiny_bert: Path) -> None:
    """Normalised gradients: the norms of steps 0 and 2 weigh those of 1 and 3, too; heads are left alone."""
    weights = torch.ones(3)

    def fill(model: MultitaskModel, losses: dict[str, Tensor], step: int) -> None:
        nonlocal weights
        rows = _rows(losses, _shared(model))
        if step % 2 == 0:
            norms = rows.norm(dim=1)
            weights = norms.mean() / norms
        _stacked(losses).sum().backward()
        _give(weights @ rows, _shared(model))

    _same(folder, tiny_bert, {"name": "normalized", "every": 2}, fill)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_surgery_over_heads_too(folder: Path, tiny_bert: Path, reduction: str) -> None:
    def fill(model: MultitaskModel, losses: dict[str, Tensor], step: int) -> None:
        everything, shared = [p for p in model.parameters() if p.requires_grad], sum(p.numel() for p in _shared(model))
        ordered = _shared(model) + [p for p in everything if not any(p is own for own in _shared(model))]
        combined = project_conflicts(list(_rows(losses, ordered)), 1, step).sum(0)
        if reduction == "mean":
            combined = torch.cat([combined[:shared] / 3, combined[shared:]])
        _give(combined, ordered)

    _same(folder, tiny_bert, {"name": "pcgrad", "scope": "all", "reduction": reduction}, fill)


def test_trimmed_mean_of_each_coordinate(folder: Path, tiny_bert: Path) -> None:
    def fill(model: MultitaskModel, losses: dict[str, Tensor], step: int) -> None:
        rows = _rows(losses, _shared(model))
        _stacked(losses).sum().backward()
        _give(rows.median(0).values, _shared(model))

    _same(folder, tiny_bert, {"name": "trimmed_mean"}, fill)


def test_a_method_inside_groups_and_one_between(folder: Path, tiny_bert: Path) -> None:
    """Equal norms within each layer: first of the two tasks of a group, then of the groups."""

    def equal(rows: Tensor) -> Tensor:
        norms = rows.norm(dim=1)
        return norms.mean() * (rows / norms[:, None]).sum(0)

    def fill(model: MultitaskModel, losses: dict[str, Tensor], _: int) -> None:
        blocks: dict[int, list[nn.Parameter]] = {}
        for name, p in model.shared_parameters().items():
            blocks.setdefault(model.layer_of(name), []).append(p)
        order = {task: number for number, task in enumerate(losses)}
        rows = [_rows(losses, own) for own in blocks.values()]
        _stacked(losses).sum().backward()
        for own, gradients in zip(blocks.values(), rows, strict=True):
            pair = equal(gradients[[order["sst"], order["sts"]]])
            _give(equal(torch.stack([pair, gradients[order["quora"]]])), own)

    groups = {"groups": [["sst", "sts"], ["quora"]], "inside": {"name": "normalized"}, "granularity": "layer"}
    _same(folder, tiny_bert, {"name": "normalized", **groups}, fill)
