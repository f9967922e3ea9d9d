"""Golden cases of gradient surgery on two ranks: the averages over ranks are projected, never the ranks' own gradients."""

from typing import Literal

import pytest
import torch

from multitask.combination import build_combination, cosines, gramian
from multitask.combination.pcgrad import PCGradCombination
from multitask.config.combination import PCGrad

# (rank 0's gradients, rank 1's gradients, exact result, what projecting per rank and averaging would give)
TWO_RANKS = [
    ([[1.0, 0.0], [-1.0, 1.0]], [[1.0, 2.0], [3.0, 0.0]], [2.0, 1.5], [2.25, 1.75]),
    ([[1.0, 0.0], [1.0, 3.0]], [[0.0, -4.0], [0.0, -0.5]], [1.8854, -0.2571], [1.0, -0.75]),
]


def _combine(rows: torch.Tensor) -> torch.Tensor:
    weights = PCGradCombination(PCGrad(), {}, seed=0).gradient_weights(gramian(list(rows)), [("a",), ("b",)], step=0)
    return weights.shared @ rows


@pytest.mark.parametrize(("first", "second", "exact", "per_rank"), TWO_RANKS)
def test_averages_over_ranks_are_projected(
    first: list[list[float]], second: list[list[float]], exact: list[float], per_rank: list[float]
) -> None:
    ranks = [torch.tensor(first), torch.tensor(second)]
    torch.testing.assert_close(_combine(sum(ranks) / 2), torch.tensor(exact), atol=1e-4, rtol=0)
    torch.testing.assert_close(sum(_combine(r) for r in ranks) / 2, torch.tensor(per_rank), atol=1e-4, rtol=0)


def test_published_jacobian() -> None:
    torch.testing.assert_close(
        _combine(torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])),
        torch.tensor([0.5848, 3.8012, 3.8012]),
        atol=1e-4,
        rtol=0,
    )


# g₁ = (1, 0 | 2, 0), g₂ = (−1, 1 | 0, 1): two shared numbers, then one of either head; by hand, from the ports' definition.
HEADS = [
    ("shared", "sum", [1 / 2, 3 / 2], [2.0, 1.0]),
    ("shared", "mean", [1 / 4, 3 / 4], [2.0, 1.0]),
    ("all", "sum", [-2 / 15, 4 / 3], [12 / 5, 4 / 3]),
    ("all", "mean", [-1 / 15, 2 / 3], [12 / 5, 4 / 3]),
]


@pytest.mark.parametrize(("scope", "reduction", "shared", "heads"), HEADS)
def test_heads_join_the_projection_and_are_never_averaged(
    scope: Literal["shared", "all"], reduction: Literal["sum", "mean"], shared: list[float], heads: list[float]
) -> None:
    method = PCGradCombination(PCGrad(scope=scope, reduction=reduction), {}, seed=0)
    rows, own = torch.tensor([[1.0, 0.0], [-1.0, 1.0]]), torch.tensor([2.0, 1.0])
    matrix = gramian(list(rows)) + (torch.diag(own**2) if method.takes_heads else 0)
    weights = method.group_weights(matrix, [("a",), ("b",)], step=0)
    torch.testing.assert_close(weights.shared @ rows, torch.tensor(shared))
    torch.testing.assert_close(weights.heads * own, torch.tensor(heads))
    alone = method.group_weights(matrix[:1, :1], [("a",)], step=0)
    assert (alone.shared, alone.heads) == (1, 1)


def test_gramian_reads_every_column_once() -> None:
    rows = torch.randn(3, (1 << 18) + 12345, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gramian(list(rows)).double(), rows.double() @ rows.double().T, rtol=1e-4, atol=1e-1)


def test_order_of_projections_depends_on_seed_and_step_only() -> None:
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    matrix = gramian(list(rows))

    def weights(seed: int, step: int) -> torch.Tensor:
        torch.manual_seed(torch.seed() % 1000)
        before = torch.get_rng_state()
        found = PCGradCombination(PCGrad(), {}, seed=seed).gradient_weights(
            matrix, [(task,) for task in "abcdef"], step
        )
        assert torch.equal(before, torch.get_rng_state())
        return found.shared

    assert torch.equal(weights(0, 3), weights(0, 3))
    assert any(not torch.equal(weights(0, 3), weights(0, step)) for step in range(4, 12))


def test_cosines_from_the_gramian() -> None:
    rows = torch.tensor([[3.0, 4.0, 0.0], [-3.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    matrix = gramian(list(rows))
    wanted = torch.nn.functional.cosine_similarity(rows[0], rows[1], dim=0)
    torch.testing.assert_close(cosines(matrix)[0, 1], wanted)
    assert cosines(matrix)[0, 2] == 0


def test_groups_of_the_tasks_that_are_in_the_round() -> None:
    alone, grouped = (PCGradCombination(PCGrad(groups=g), {}, seed=0) for g in (None, (("a", "b", "c"), ("aux",))))
    assert alone.groups(["a", "c", "aux"]) == (("a",), ("c",), ("aux",))
    assert grouped.groups(["a", "c", "aux"]) == (("a", "c"), ("aux",))
    assert grouped.groups(["a", "b"]) == (("a", "b"),)


def test_fixed_weights(tiny_tasks: dict) -> None:
    from multitask.config import parse_config

    rows = {"sst": 60, "quora": 30, "sts": 10}
    for name, extra, wanted in [
        ("sum", {}, [1.0, 1.0, 1.0]),
        ("size_weighted", {}, [1.8, 0.9, 0.3]),
        ("loss_weights", {"loss_weights": {"sst": 0.5, "quora": 2, "sts": 0}}, [0.5, 2.0, 0.0]),
    ]:
        config = parse_config(tiny_tasks | {"combination": {"name": name, **extra}}, "test")
        combination = build_combination(config, rows)
        assert combination.groups(["sst", "sts"]) == (("sst", "sts"),)
        torch.testing.assert_close(combination.loss_weights(["sst", "quora", "sts"]), torch.tensor(wanted))
