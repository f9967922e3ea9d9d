"""Each method that weighs losses beside its definition: torchjd's scalarization differentiated, with torch's own Adam."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchjd import scalarization

from tests.unit.multitask.combination.methods import ROWS, TASKS, ask, build, drawn, facts


def _losses(step: int) -> Tensor:
    return torch.tensor([1.6, 0.7, 0.4]).double() / (1 + step * torch.tensor([0.1, 0.2, 0.05])).double()


def _weights(scalarizer: Any, losses: Tensor) -> Tensor:
    losses = losses.clone().requires_grad_()
    return torch.autograd.grad(scalarizer(losses), losses)[0]


@pytest.mark.parametrize(("name", "made"), [("uncertainty", scalarization.UW), ("imtl_l", scalarization.IMTLL)])
def test_learned_scales_follow_torchs_adam(tiny_tasks: dict[str, Any], name: str, made: Any) -> None:
    own, other = build(tiny_tasks, name, lr=0.05), made(3).double()
    optimizer = torch.optim.Adam(other.parameters(), lr=0.05)
    for step in range(10):
        wanted = _weights(other, _losses(step))
        torch.testing.assert_close(ask(own, drawn(step), _losses(step).tolist(), step), wanted, rtol=1e-5, atol=1e-6)
        optimizer.zero_grad()
        other(_losses(step)).backward()
        optimizer.step()


def test_uncertainty_comes_to_the_inverse_of_each_loss(tiny_tasks: dict[str, Any]) -> None:
    own = build(tiny_tasks, "uncertainty", lr=0.05)
    for step in range(400):
        weights = ask(own, drawn(0), [1.6, 0.7, 0.4], step)
    torch.testing.assert_close(weights, 0.5 / torch.tensor([1.6, 0.7, 0.4]).double(), rtol=1e-2, atol=0)


def test_dwa_follows_torchjds_windows(tiny_tasks: dict[str, Any]) -> None:
    own, other = build(tiny_tasks, "dwa", window=4, temperature=1.5), scalarization.DWA(1.5)
    for step in range(20):
        wanted = _weights(other, _losses(step))
        torch.testing.assert_close(ask(own, drawn(step), _losses(step).tolist(), step), wanted, rtol=1e-5, atol=1e-6)
        if step < 8:
            torch.testing.assert_close(wanted, torch.ones(3).double())
        if step % 4 == 3:
            other.step()


def test_famo_with_the_next_losses_as_those_after_the_step(tiny_tasks: dict[str, Any]) -> None:
    own, other = build(tiny_tasks, "famo", lr=0.1), scalarization.FAMO(3, lr=0.1).double()
    for step in range(8):
        wanted = _weights(other, _losses(step))
        torch.testing.assert_close(ask(own, drawn(step), _losses(step).tolist(), step), wanted, rtol=1e-5, atol=1e-6)
        if step:
            # torchjd is told the losses before and after; ours has them one step later.
            other._prev_losses = _losses(step - 1)
            other.update(_losses(step))
    assert (wanted * _losses(7)).std() > 1e-3


def test_geometric_mean_and_tchebycheff_are_torchjds(tiny_tasks: dict[str, Any]) -> None:
    losses = _losses(3)
    wanted = 3 * _weights(scalarization.GeometricMean(), losses)
    torch.testing.assert_close(
        ask(build(tiny_tasks, "geometric_mean"), drawn(0), losses.tolist(), 0), wanted, rtol=1e-5, atol=0
    )
    for preference in (None, {"sst": 0.2, "quora": 0.5, "sts": 0.3}):
        vector = torch.tensor(list(preference.values())).double() if preference else None
        wanted = _weights(scalarization.STCH(0.2, vector), losses)
        found = ask(build(tiny_tasks, "stch", mu=0.2, preference=preference), drawn(0), losses.tolist(), 0)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_weights_that_are_told(tiny_tasks: dict[str, Any]) -> None:
    for name, wanted in [
        ("sum", [1.0, 1.0, 1.0]),
        ("mean", [1 / 3, 1 / 3, 1 / 3]),
        ("size_weighted", [3 * rows / 100 for rows in ROWS.values()]),
        ("loss_weights", [0.5, 2.0, 1.0]),
    ]:
        plan = build(tiny_tasks, name).plan(TASKS, 0)
        assert plan.groups == (TASKS,)
        torch.testing.assert_close(plan.losses, torch.tensor(wanted))
    scheduled = build(tiny_tasks, "scheduled", steps=11)
    assert [scheduled.plan(TASKS, step).losses.tolist() for step in (0, 5, 10)] == [[1, 0, 2], [0.5, 1.5, 2], [0, 3, 2]]


def test_random_weights_are_a_softmax_of_normal_numbers(tiny_tasks: dict[str, Any]) -> None:
    own = build(tiny_tasks, "random")
    weights = torch.stack([own.plan(TASKS, step).losses for step in range(2000)])
    torch.testing.assert_close(weights.sum(1), torch.full((2000,), 3.0))
    ratios = (weights[:, 0] / weights[:, 1]).log()
    assert float(ratios.mean()) == pytest.approx(0, abs=0.1)
    assert float(ratios.std()) == pytest.approx(2**0.5, rel=0.05)


def test_a_negative_loss_of_a_geometric_mean_is_summed_and_said(tiny_tasks: dict[str, Any]) -> None:
    own = build(tiny_tasks, "geometric_mean")
    known = facts(own.plan(TASKS, 0), drawn(0), [0.5, -0.1, 0.2], 0)
    factors = own.factors(known)
    assert factors.fell_back
    assert factors.shared.tolist() == [[1, 1, 1]]
