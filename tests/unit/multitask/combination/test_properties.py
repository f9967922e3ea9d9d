"""What methods promise, for gradients of any number, scale and rank."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from multitask.combination import WEIGHTINGS, Combination, Factors, Facts, Setting
from multitask.combination.base import apart
from multitask.combination.gradients.combination import GradientCombination
from multitask.combination.registry import COMBINATIONS
from multitask.config.combination.catalogue import method_classes
from tests.unit.multitask.combination.samplers import awkward, gradients

CLASSES = method_classes()
LOSSES = [name for name, own in CLASSES.items() if own.ABOUT.kind == "losses"]
GRADIENTS = sorted(WEIGHTINGS)
some = settings(max_examples=25, deadline=None, derandomize=True, database=None)
every_weighting = pytest.mark.parametrize("name", GRADIENTS)


def _tasks(number: int) -> tuple[str, ...]:
    return tuple(f"t{n}" for n in range(number))


def _needed(name: str, tasks: Sequence[str]) -> dict[str, Any]:
    weights = {task: 0.5 + n for n, task in enumerate(tasks)}
    return {
        "loss_weights": {"loss_weights": weights},
        "scheduled": {"start": weights, "end": weights},
        "pcd": {"primary": tasks[0]},
    }.get(name, {})


def _built(name: str, number: int, **keys: Any) -> Combination:
    tasks = _tasks(number)
    config = CLASSES[name](**_needed(name, tasks), **keys)
    setting = Setting({task: 10 * (n + 1) for n, task in enumerate(tasks)}, 100, 3)
    if name in COMBINATIONS:
        return COMBINATIONS[name](config, setting)
    return GradientCombination(config, setting, lambda: WEIGHTINGS[name](config, number))  # type: ignore[arg-type]


def _facts(rows: Tensor, losses: Sequence[float] | None = None, step: int = 0) -> Facts:
    tasks = _tasks(len(rows))
    known = torch.tensor(losses or [0.3 + 0.4 * n for n in range(len(rows))], dtype=torch.float64)
    # As the step has it: the rounding of fp32 is in it.
    gramian = (rows @ rows.T).float().double()
    return Facts(step, tasks, apart(tasks), known, gramian[None], torch.zeros(len(rows), dtype=torch.float64))


def _factors(name: str, rows: Tensor, **keys: Any) -> Factors:
    return _built(name, len(rows), **keys).factors(_facts(rows))


def _update(name: str, rows: Tensor, **keys: Any) -> Tensor:
    factors = _factors(name, rows, **keys)
    assert not factors.fell_back
    return factors.shared[0].double() @ rows


@every_weighting
@some
@given(rows=awkward())
def test_weights_are_finite_or_the_sum_and_said(name: str, rows: Tensor) -> None:
    own = _built(name, len(rows))
    for step in range(2):
        factors = own.factors(_facts(rows, step=step))
        assert factors.shared.shape == (1, len(rows))
        assert factors.shared.isfinite().all()
        assert factors.heads.isfinite().all()
        if factors.fell_back:
            assert torch.equal(factors.shared, torch.ones(1, len(rows)))
    assert all(value.isfinite().all() for value in own.state_dict().values())


@every_weighting
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_gramian_that_is_not_finite_is_said_and_not_remembered(name: str, bad: float) -> None:
    rows = torch.randn(4, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own, other = _built(name, 4), _built(name, 4)
    for one in (own, other):
        one.factors(_facts(rows))
    facts = _facts(rows, step=1)
    facts.gramian[0, 1, 2] = facts.gramian[0, 2, 1] = bad
    factors = own.factors(facts)
    assert factors.fell_back
    assert torch.equal(factors.shared, torch.ones(1, 4))
    assert torch.equal(own.factors(_facts(rows, step=2)).shared, other.factors(_facts(rows, step=2)).shared)


@pytest.mark.parametrize("name", LOSSES)
@some
@given(losses=st.lists(st.floats(1e-10, 1e10), min_size=2, max_size=6))
def test_weights_of_losses_are_finite_or_the_sum_and_said(name: str, losses: list[float]) -> None:
    own, tasks = _built(name, len(losses)), _tasks(len(losses))
    for step in range(3):
        plan = own.plan(tasks, step)
        assert plan.losses.isfinite().all()
        assert (plan.losses >= 0).all()
        known = _facts(torch.eye(len(losses)).double(), losses, step)
        known = Facts(step, tasks, plan.groups, known.losses, torch.eye(len(plan.groups))[None].double(), known.heads)
        factors = own.factors(known)
        own.learn(known)
        assert factors.shared.isfinite().all()
        assert (factors.shared >= 0).all()
        if factors.fell_back:
            assert (factors.shared == 1).all()


# What the weights are multiplied with where all gradients are c times as long; FairGrad: G w = w^(−1/α) at α = 1.
SCALES: dict[str, float] = {"fairgrad": -1.0}


@every_weighting
@some
@given(rows=gradients(), power=st.integers(-2, 3))
def test_the_common_scale_means_nothing_or_what_the_method_says(name: str, rows: Tensor, power: int) -> None:
    keys = {"max_norm": None} if name == "nash_mtl" else {}
    one, other = _factors(name, rows, **keys), _factors(name, rows * 2.0**power, **keys)
    assert one.fell_back == other.fell_back
    # PCD's ε is a square of a norm.
    loose = 1e-4 if name in ("pcd", "mgda", "cagrad") else 1e-5
    torch.testing.assert_close(other.shared, one.shared * 2.0 ** (power * SCALES.get(name, 0)), rtol=loose, atol=loose)


# What is drawn, and what a tie is, goes by the task's place; `t0` is PCD's primary task.
@pytest.mark.parametrize("name", [n for n in GRADIENTS if n not in ("pcgrad", "gradvac", "pcd")])
@some
@given(rows=gradients(), seed=st.integers(0, 99))
def test_the_order_of_the_tasks_means_nothing(name: str, rows: Tensor, seed: int) -> None:
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    facts = _facts(rows)
    tasks = tuple(facts.tasks[n] for n in order)
    moved = Facts(0, tasks, apart(tasks), facts.losses[order], facts.gramian[:, order][:, :, order], facts.heads[order])
    one, other = _built(name, len(rows)).factors(facts), _built(name, len(rows)).factors(moved)
    assert one.fell_back == other.fell_back
    update, again = one.shared[0].double() @ rows, other.shared[0].double() @ rows[order]
    assert float((update - again).norm()) <= 1e-3 * float(update.norm()) + 1e-6 * float(rows.norm(dim=1).min())


@pytest.mark.parametrize("name", ["upgrad", "dualproj", "mgda", "nash_mtl", "config", "aligned_mtl", "imtl_g"])
@some
@given(rows=gradients(spread=0.5))
def test_no_task_gets_worse_where_that_is_promised(name: str, rows: Tensor) -> None:
    """Aligned-MTL and IMTL-G promise it of the gradients' own shape: equal components, equal projections."""
    update = _update(name, rows)
    gains = rows @ update / rows.norm(dim=1) / update.norm()
    if name == "aligned_mtl":
        left, values, right = torch.linalg.svd(rows, full_matrices=False)
        torch.testing.assert_close(update, values.min() * (left @ right).mean(0), rtol=1e-3, atol=1e-4)
    elif name in ("imtl_g", "config"):
        torch.testing.assert_close(gains, gains[0].expand(len(rows)), rtol=1e-3, atol=1e-3)
    elif name == "mgda":
        # The shortest of the hull has no less than its square along every gradient.
        assert float((rows @ update).min()) >= float(update.square().sum()) - 1e-2 * float(rows.square().sum(1).mean())
    else:
        assert float(gains.min()) >= -1e-4


@some
@given(rows=gradients(), c=st.floats(0, 0.95))
def test_cagrad_stays_within_its_ball_and_is_the_mean_at_zero(rows: Tensor, c: float) -> None:
    mean = rows.mean(0)
    assert float((_update("cagrad", rows, c=c) - mean).norm()) <= (c + 1e-5) * float(mean.norm())
    torch.testing.assert_close(_update("cagrad", rows, c=0.0), mean)


@some
@given(rows=gradients(least=2, most=2))
def test_two_tasks_are_projected_alike_by_three_methods(rows: Tensor) -> None:
    """PCGrad is twice UPGrad, and GradVac whose aim is still a cosine of 0."""
    projected = _update("pcgrad", rows)
    near = 1e-4 * float(rows.norm())
    torch.testing.assert_close(2 * _update("upgrad", rows), projected, rtol=1e-4, atol=near)
    torch.testing.assert_close(_update("gradvac", rows), projected, rtol=1e-4, atol=near)


@some
@given(rows=gradients())
def test_gradients_without_conflict_are_left_alone(rows: Tensor) -> None:
    agreeing = rows.abs()
    torch.testing.assert_close(_update("pcgrad", agreeing), agreeing.sum(0), rtol=1e-5, atol=0)
    for name in ("upgrad", "dualproj"):
        torch.testing.assert_close(_update(name, agreeing), agreeing.mean(0), rtol=1e-4, atol=1e-6)


@some
@given(size=st.integers(2, 6), norm=st.floats(1e-3, 1e3))
def test_orthogonal_gradients_of_one_length_count_alike(size: int, norm: float) -> None:
    rows = norm * torch.eye(size, dtype=torch.float64)
    for name in ("mgda", "imtl_g", "aligned_mtl", "upgrad", "dualproj"):
        torch.testing.assert_close(_factors(name, rows).shared, torch.full((1, size), 1 / size), rtol=1e-4, atol=1e-6)


@some
@given(rows=gradients(), tau=st.floats(0, 0.3))
def test_pcd_gives_every_task_its_share_and_is_as_long_as_the_primary_gradient(rows: Tensor, tau: float) -> None:
    update = _update("pcd", rows, tau=tau)
    assert float(update.norm()) == pytest.approx(float(rows[0].norm()), rel=1e-3)
    # At the first step every gradient is scaled to the length 1; the direction d has d · g̃ⱼ ≥ τ before it is made as long as g₁.
    units = rows / rows.norm(dim=1, keepdim=True)
    assert float((units[1:] @ update).min()) >= -1e-3 * float(update.norm())


@some
@given(rows=gradients(), outliers=st.integers(0, 3), selected=st.integers(1, 6))
def test_krum_averages_some_or_falls_back(rows: Tensor, outliers: int, selected: int) -> None:
    factors = _factors("krum", rows, outliers=outliers, selected=selected)
    assert factors.fell_back == (len(rows) < outliers + 3 or selected > len(rows))
    if not factors.fell_back:
        assert sorted(factors.shared[0].tolist(), reverse=True)[:selected] == pytest.approx([1 / selected] * selected)
        assert float(factors.shared.sum()) == pytest.approx(1)


@some
@given(losses=st.lists(st.floats(0.01, 10), min_size=2, max_size=6))
def test_identities_of_weights_of_losses(losses: list[float]) -> None:
    number, known = len(losses), torch.tensor(losses, dtype=torch.float64)
    tasks, facts = _tasks(number), _facts(torch.eye(number).double(), losses)
    weights = {
        name: _built(name, number).factors(facts).shared[0].double() for name in ("geometric_mean", "stch", "famo")
    }
    # All losses have the same share of the gradient of the logarithm.
    torch.testing.assert_close(
        weights["geometric_mean"] * known, known.log().mean().exp().expand(number), rtol=1e-5, atol=0
    )
    assert float(weights["stch"].sum()) == pytest.approx(1 / number, rel=1e-5)
    torch.testing.assert_close(weights["famo"] * known, (weights["famo"] * known)[0].expand(number), rtol=1e-4, atol=0)
    for name, wanted in (("uncertainty", 0.5), ("imtl_l", 1.0), ("dwa", 1.0)):
        torch.testing.assert_close(_built(name, number).plan(tasks, 0).losses, torch.full((number,), wanted))
    assert float(_built("random", number).plan(tasks, 3).losses.sum()) == pytest.approx(number, rel=1e-5)
