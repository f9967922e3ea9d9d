"""PCD and Krum beside their definitions and torchjd."""

from typing import Any

import pytest
import torch
from torchjd import aggregation

from multitask.combination.gradients.krum import KrumWeights
from multitask.combination.gradients.weighting import Round
from multitask.config.combination import Krum
from tests.unit.multitask.combination.methods import ask, build, drawn, facts

LOSSES = (1.6, 0.7, 0.4)


@pytest.mark.parametrize("tau", [0.0, 0.02, 0.6])
def test_pcd_goes_as_torchjds_and_keeps_its_promise(tiny_tasks: dict[str, Any], tau: float) -> None:
    """Quora is the second of the tasks and the first of torchjd's rows."""
    own = build(tiny_tasks, "pcd", tau=tau, beta=0.9)
    other, order = aggregation.PCDWeighting(tau=tau, beta=0.9), [1, 0, 2]
    for step in range(6):
        rows = drawn(step, size=4) * torch.tensor([[1.0], [3.0], [0.2]])
        weights = ask(own, rows, LOSSES, step)
        torch.testing.assert_close(weights[order], other(rows[order] @ rows[order].T), rtol=1e-5, atol=1e-6)
        assert float((weights @ rows).norm()) == pytest.approx(float(rows[1].norm()), rel=1e-5)


def test_pcd_follows_its_primary_task_where_others_are_opposed(tiny_tasks: dict[str, Any]) -> None:
    rows = torch.tensor([[1.0, 0.0], [0.3, 1.0], [-1.0, 0.0]]).double()
    weights = ask(build(tiny_tasks, "pcd", tau=0.5), rows, LOSSES, 0)
    torch.testing.assert_close(weights, torch.tensor([0.0, 1.0, 0.0]).double())


def test_pcd_without_its_primary_task_is_the_sum_and_said(tiny_tasks: dict[str, Any]) -> None:
    own, tasks = build(tiny_tasks, "pcd"), ("sst", "sts")
    factors = own.factors(facts(own.plan(tasks, 0), drawn(0, rows=2), LOSSES[:2], 0, tasks))
    assert factors.fell_back
    assert factors.shared.tolist() == [[1, 1]]


@pytest.mark.parametrize(("outliers", "selected"), [(0, 1), (2, 1), (1, 3)])
def test_krum_by_its_definition(outliers: int, selected: int) -> None:
    for seed in range(5):
        rows = drawn(seed, rows=6, size=3)
        scores = []
        for i in range(6):
            squares = sorted(float((rows[i] - rows[j]).square().sum()) for j in range(6) if j != i)
            scores.append(sum(squares[: 6 - outliers - 2]))
        chosen = sorted(range(6), key=lambda i: (round(scores[i], 9), i))[:selected]
        wanted = torch.tensor([(i in chosen) / selected for i in range(6)]).double()
        own = KrumWeights(Krum(outliers=outliers, selected=selected))
        found = own(rows @ rows.T, Round(tuple((str(i),) for i in range(6)), range(6), torch.ones(6), 0))
        torch.testing.assert_close(found, wanted)


def test_krum_of_near_neighbours_is_torchjds(tiny_tasks: dict[str, Any]) -> None:
    """Torchjd adds distances, the paper their squares: with one neighbour the order is the same."""
    rows = torch.tensor([[5.0, 0.0], [1.0, 1.0], [1.1, 1.0]]).double()
    weights = ask(build(tiny_tasks, "krum", selected=2), rows, LOSSES, 0)
    torch.testing.assert_close(weights, aggregation.KrumWeighting(0, 2)(rows @ rows.T))
    first = ask(build(tiny_tasks, "krum"), rows, LOSSES, 0)
    assert first.tolist() == [0, 1, 0]
