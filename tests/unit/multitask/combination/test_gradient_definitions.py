"""Each method that reads gradients beside its definition, written out on the gradients themselves, or beside torchjd."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from torchjd import aggregation

from multitask.keys import generator_key
from tests.unit.multitask.combination.methods import TASKS, ask, build, drawn

LOSSES = (1.6, 0.7, 0.4)
PUBLISHED = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]], dtype=torch.float64)
TWO = TASKS[:2]


def _update(tree: dict[str, Any], name: str, rows: Tensor, **keys: Any) -> Tensor:
    tasks = TASKS[: len(rows)]
    return ask(build(tree, name, **keys), rows, LOSSES[: len(rows)], 0, tasks) @ rows


def test_mgda_on_published_and_orthogonal_gradients(tiny_tasks: dict[str, Any]) -> None:
    torch.testing.assert_close(
        _update(tiny_tasks, "mgda", PUBLISHED), torch.tensor([0.0, 1.0, 1.0]).double(), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        ask(build(tiny_tasks, "mgda"), 7 * torch.eye(3).double(), LOSSES, 0), torch.full((3,), 1 / 3).double()
    )


def test_two_tasks_are_projected_alike_by_pcgrad_and_upgrad(tiny_tasks: dict[str, Any]) -> None:
    torch.testing.assert_close(
        2 * _update(tiny_tasks, "upgrad", PUBLISHED), _update(tiny_tasks, "pcgrad", PUBLISHED), rtol=1e-5, atol=1e-6
    )


def _in_the_cone(target: Tensor, rows: Tensor) -> Tensor:
    """The nearest vector to `target` that points against none of `rows`."""
    found = minimize(
        lambda x: 0.5 * np.sum((x - target.numpy()) ** 2),
        target.numpy(),
        jac=lambda x: x - target.numpy(),
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda x: rows.numpy() @ x, "jac": lambda x: rows.numpy()},
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return torch.from_numpy(found.x)


@pytest.mark.parametrize("seed", range(4))
def test_upgrad_and_dualproj_project_on_the_dual_cone(tiny_tasks: dict[str, Any], seed: int) -> None:
    rows = drawn(seed, size=3)
    projected = [_in_the_cone(row, rows) for row in rows]
    torch.testing.assert_close(_update(tiny_tasks, "upgrad", rows), sum(projected) / 3, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        _update(tiny_tasks, "dualproj", rows), _in_the_cone(rows.mean(0), rows), rtol=1e-4, atol=1e-5
    )
    wanted = {"sst": 1.0, "quora": 3.0, "sts": 0.0}
    preferred = _in_the_cone(rows.T @ torch.tensor([0.25, 0.75, 0]).double(), rows)
    torch.testing.assert_close(
        _update(tiny_tasks, "dualproj", rows, preference=wanted), preferred, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("seed", range(4))
def test_cagrad_is_the_best_for_the_worst_off_within_its_ball(tiny_tasks: dict[str, Any], seed: int) -> None:
    """Max over |d − g₀| ≤ c |g₀| of min gᵢ · d, found by searching the ball's surface through the simplex in small steps."""
    rows, c = drawn(seed, size=4), 0.6
    mean = rows.mean(0)
    steps = torch.linspace(0, 1, 201).double()
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    grid = grid[grid.sum(1) <= 1]
    weights = torch.cat([grid, 1 - grid.sum(1, keepdim=True)], 1)
    mixes = weights @ rows
    candidates = mean + c * mean.norm() * mixes / mixes.norm(dim=1, keepdim=True)
    best = (candidates @ rows.T).min(1).values.max()
    update = _update(tiny_tasks, "cagrad", rows, c=c)
    assert (update - mean).norm() == pytest.approx(float(c * mean.norm()), rel=1e-4)
    assert float((rows @ update).min()) >= float(best) - 1e-4 * float(best.abs())
    torch.testing.assert_close(_update(tiny_tasks, "cagrad", rows, c=0), mean, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("scale", "of"), [("min", torch.min), ("median", torch.median)])
def test_aligned_mtl_gives_all_components_one_length(tiny_tasks: dict[str, Any], scale: str, of: Any) -> None:
    rows = drawn(2)
    left, values, right = torch.linalg.svd(rows, full_matrices=False)
    wanted = of(values) * (left @ right).mean(0)
    torch.testing.assert_close(_update(tiny_tasks, "aligned_mtl", rows, scale=scale), wanted, rtol=1e-4, atol=1e-6)


def test_imtl_g_projects_alike_on_every_unit_gradient(tiny_tasks: dict[str, Any]) -> None:
    rows = drawn(3) * torch.tensor([[1.0], [10.0], [0.1]])
    weights = ask(build(tiny_tasks, "imtl_g"), rows, LOSSES, 0)
    projections = rows / rows.norm(dim=1, keepdim=True) @ (weights @ rows)
    torch.testing.assert_close(projections, projections[0].expand(3), rtol=1e-4, atol=1e-6)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_nash_weights_are_the_inverse_of_each_gain(tiny_tasks: dict[str, Any], seed: int) -> None:
    rows = drawn(seed) * torch.tensor([[1.0], [5.0], [0.2]])
    gram = rows @ rows.T
    weights = ask(build(tiny_tasks, "nash_mtl", max_norm=None), rows, LOSSES, 0)
    torch.testing.assert_close(gram / gram.norm() @ weights, 1 / weights, rtol=1e-5, atol=1e-6)
    assert (weights > 0).all()
    bounded = ask(build(tiny_tasks, "nash_mtl"), rows, LOSSES, 0)
    assert float((bounded @ rows).norm()) == pytest.approx(1, rel=1e-5)
    torch.testing.assert_close(bounded / bounded[0], weights / weights[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_fairgrad_solves_its_equation_as_torchjd_does(tiny_tasks: dict[str, Any], alpha: float) -> None:
    rows = 3 * drawn(5)
    weights = ask(build(tiny_tasks, "fairgrad", alpha=alpha), rows, LOSSES, 0)
    torch.testing.assert_close(rows @ rows.T @ weights, weights ** (-1 / alpha), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(aggregation.FairGradWeighting(alpha)(rows @ rows.T), weights, rtol=1e-3, atol=1e-4)


def test_config_has_one_cosine_to_every_gradient(tiny_tasks: dict[str, Any]) -> None:
    rows = drawn(6) * torch.tensor([[1.0], [10.0], [0.1]])
    torch.testing.assert_close(_update(tiny_tasks, "config", rows), aggregation.ConFIG()(rows), rtol=1e-4, atol=1e-5)


def test_normalized_gradients_have_the_mean_of_the_norms(tiny_tasks: dict[str, Any]) -> None:
    rows = drawn(7) * torch.tensor([[1.0], [10.0], [0.1]])
    norms = rows.norm(dim=1)
    torch.testing.assert_close(
        _update(tiny_tasks, "normalized", rows), norms.mean() * (rows / norms[:, None]).sum(0), rtol=1e-5, atol=1e-5
    )


def test_gradvac_on_the_gradients_themselves(tiny_tasks: dict[str, Any]) -> None:
    own, beta, average = (
        build(
            tiny_tasks,
            "gradvac",
            beta=0.3,
        ),
        0.3,
        torch.zeros(3, 3).double(),
    )
    turned = 0
    for step in range(8):
        rows = drawn(step, size=5) + 0.5
        generator = torch.Generator().manual_seed(generator_key(5, "gradvac", step))
        update = torch.zeros(5).double()
        for i in range(3):
            gradient = rows[i].clone()
            for j in torch.randperm(3, generator=generator).tolist():
                if i == j:
                    continue
                cosine, aimed = torch.cosine_similarity(gradient, rows[j], dim=0), average[i, j].clone()
                if cosine < aimed:
                    turned += 1
                    sines = (1 - cosine**2).sqrt(), (1 - aimed**2).sqrt()
                    gradient = gradient + rows[j] * gradient.norm() * (aimed * sines[0] - cosine * sines[1]) / (
                        rows[j].norm() * sines[1]
                    )
                    torch.testing.assert_close(torch.cosine_similarity(gradient, rows[j], dim=0), aimed)
                average[i, j] = (1 - beta) * aimed + beta * cosine
            update += gradient
        torch.testing.assert_close(ask(own, rows, LOSSES, step) @ rows, update, rtol=1e-4, atol=1e-5)
    assert 0 < turned < 48


def test_gradvac_of_two_tasks_is_torchjds(tiny_tasks: dict[str, Any]) -> None:
    own, other = build(tiny_tasks, "gradvac", beta=0.5), aggregation.GradVacWeighting(0.5, eps=0)
    for step in range(6):
        rows = drawn(step, rows=2, size=4)
        torch.testing.assert_close(ask(own, rows, LOSSES[:2], step, TWO), other(rows @ rows.T), rtol=1e-5, atol=1e-6)


def test_sdmgrad_goes_as_torchjds(tiny_tasks: dict[str, Any]) -> None:
    own, other = build(tiny_tasks, "sdmgrad", lambda_=0.5, lr=0.1), aggregation.SDMGradWeighting(lr=0.1, lambda_=0.5)
    for step in range(5):
        rows = drawn(step)
        torch.testing.assert_close(ask(own, rows, LOSSES, step), other(rows @ rows.T), rtol=1e-5, atol=1e-6)


def test_gradnorm_by_autograd(tiny_tasks: dict[str, Any]) -> None:
    own, alpha, lr = build(tiny_tasks, "gradnorm", alpha=1.5, lr=0.05), 1.5, 0.05
    weights = torch.ones(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=lr)
    first = None
    for step in range(6):
        rows, losses = (
            drawn(step) * torch.tensor([[1.0], [3.0], [0.3]]),
            torch.tensor(LOSSES).double() / (1 + step * torch.tensor([1, 2, 3])),
        )
        torch.testing.assert_close(ask(own, rows, losses.tolist(), step), weights.detach(), rtol=1e-5, atol=1e-6)
        first = losses if first is None else first
        lengths = weights * rows.norm(dim=1) / rows.norm(dim=1).mean()
        ratios = losses / first
        target = (lengths.mean() * (ratios / ratios.mean()) ** alpha).detach()
        optimizer.zero_grad()
        (lengths - target).abs().sum().backward()
        optimizer.step()
        with torch.no_grad():
            weights *= 3 / weights.sum()
