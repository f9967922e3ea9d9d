"""Idle groups, decay, and the learning rate at points worked out by hand."""

from typing import Any

import pytest
import torch

from multitask.config import parse_config
from multitask.config.training import AdamW as AdamWConfig
from multitask.config.training import ScheduleConfig
from multitask.model import build_model
from multitask.optimization import build_optimizer, learning_rate, parameter_groups


@pytest.mark.parametrize(
    ("decay", "points"),
    [
        ("linear", {0: 0.1, 9: 1.0, 10: 1.0, 55: 0.5, 99: 1 / 90}),
        ("cosine", {0: 0.1, 10: 1.0, 55: 0.5, 40: 0.75}),
        ("constant", {4: 0.5, 10: 1.0, 99: 1.0}),
    ],
)
def test_learning_rate_warms_up_then_decays(decay: str, points: dict[int, float]) -> None:
    config = ScheduleConfig(warmup=0.1, decay=decay)
    for step, share in points.items():
        assert learning_rate(step, 100, 2e-5, config) == pytest.approx(share * 2e-5), step


def test_without_warmup_the_first_step_is_at_the_peak() -> None:
    assert learning_rate(0, 10, 1.0, ScheduleConfig(warmup=0, decay="linear")) == 1.0


def test_biases_and_norms_are_not_decayed(tiny_tasks: dict[str, Any]) -> None:
    model = build_model(parse_config(tiny_tasks, "test"))
    names = {id(p): n for n, p in model.named_parameters()}
    groups = parameter_groups(model, 0.1)
    assert [g["owner"] for g in groups] == [o for o in ("shared", "sst", "quora", "sts") for _ in range(2)]
    decayed = {names[id(p)] for g in groups if g["weight_decay"] for p in g["params"]}
    spared = {names[id(p)] for g in groups if not g["weight_decay"] for p in g["params"]}
    assert decayed | spared == {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(n.endswith("bias") or "LayerNorm" in n for n in spared)
    assert not any(n.endswith("bias") or "LayerNorm" in n for n in decayed)


def test_idle_group_keeps_weights_moments_and_step_count() -> None:
    one, two = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    optimizer = build_optimizer(
        [{"params": [one], "owner": "a"}, {"params": [two], "owner": "b"}], AdamWConfig(lr=0.1, weight_decay=0.5)
    )
    for _ in range(2):
        one.grad, two.grad = torch.ones(2, 2), torch.ones(2, 2)
        optimizer.step()
    before, state = two.detach().clone(), {k: v.clone() for k, v in optimizer.state[two].items()}
    optimizer.param_groups[1]["idle"] = True
    one.grad, two.grad = torch.ones(2, 2), torch.ones(2, 2)
    optimizer.step()
    assert torch.equal(two, before)
    assert all(torch.equal(optimizer.state[two][k], v) for k, v in state.items())
    assert optimizer.state[one]["step"] == 3
    assert optimizer.param_groups[1]["params"] == [two]
