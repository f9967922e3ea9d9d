"""Golden cases of gradient surgery on two ranks: the averages over ranks are projected, never the ranks' own gradients."""

from typing import Any

import pytest
import torch

from multitask.combination import Facts, Setting, cosines, gramian
from multitask.combination.gradients.combination import GradientCombination
from multitask.combination.gradients.pcgrad import PCGradWeights
from multitask.config.combination import PCGrad

# (rank 0's gradients, rank 1's gradients, exact result, what projecting per rank and averaging would give)
TWO_RANKS = [
    ([[1.0, 0.0], [-1.0, 1.0]], [[1.0, 2.0], [3.0, 0.0]], [2.0, 1.5], [2.25, 1.75]),
    ([[1.0, 0.0], [1.0, 3.0]], [[0.0, -4.0], [0.0, -0.5]], [1.8854, -0.2571], [1.0, -0.75]),
]


def _combine(rows: torch.Tensor) -> torch.Tensor:
    return _weights(gramian(list(rows)), 0, 0) @ rows


def _surgery(tasks: str, seed: int = 0, **keys: Any) -> GradientCombination:
    return GradientCombination(PCGrad(**keys), Setting(dict.fromkeys(tasks, 1), 10, seed), PCGradWeights)


def _weights(matrix: torch.Tensor, seed: int, step: int) -> torch.Tensor:
    tasks, zeros = tuple("abcdef"[: len(matrix)]), torch.zeros(len(matrix)).double()
    facts = Facts(step, tasks, tuple((task,) for task in tasks), zeros, matrix.double()[None], zeros)
    return _surgery("".join(tasks), seed).factors(facts).shared[0]


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
    scope: str, reduction: str, shared: list[float], heads: list[float]
) -> None:
    rows, own = torch.tensor([[1.0, 0.0], [-1.0, 1.0]]).double(), torch.tensor([2.0, 1.0]).double()
    method = _surgery("ab", scope=scope, reduction=reduction)
    losses = torch.zeros(2).double()
    factors = method.factors(Facts(0, ("a", "b"), (("a",), ("b",)), losses, (rows @ rows.T)[None], own**2))
    torch.testing.assert_close(factors.shared[0].double() @ rows, torch.tensor(shared).double(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(factors.heads.double() * own, torch.tensor(heads).double(), rtol=1e-6, atol=1e-6)
    alone = method.factors(Facts(0, ("a",), (("a",),), losses[:1], torch.ones(1, 1, 1).double(), own[:1]))
    assert (alone.shared, alone.heads) == (1, 1)


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("lie", ["in a matrix", "with gaps", "apart", "in another order"])
def test_gramian_reads_every_column_once(count: int, lie: str) -> None:
    length = (1 << 18) + 12345
    drawn = torch.randn(count, length + 3, generator=torch.Generator().manual_seed(0))
    whole = drawn[:, :length]
    rows = {
        "in a matrix": list(whole.contiguous()),
        "with gaps": list(whole),
        "apart": [row.clone() for row in whole],
        "in another order": [whole[k] for k in reversed(range(count))],
    }[lie]
    exact = torch.stack(rows).double()
    torch.testing.assert_close(gramian(rows).double(), exact @ exact.T, rtol=1e-4, atol=1e-1)


def test_order_of_projections_depends_on_seed_and_step_only() -> None:
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    matrix = gramian(list(rows))

    def weights(seed: int, step: int) -> torch.Tensor:
        torch.manual_seed(torch.seed() % 1000)
        before = torch.get_rng_state()
        found = _weights(matrix, seed, step)
        assert torch.equal(before, torch.get_rng_state())
        return found

    assert torch.equal(weights(0, 3), weights(0, 3))
    assert any(not torch.equal(weights(0, 3), weights(0, step)) for step in range(4, 12))


def test_cosines_from_the_gramian() -> None:
    rows = torch.tensor([[3.0, 4.0, 0.0], [-3.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    matrix = gramian(list(rows))
    wanted = torch.nn.functional.cosine_similarity(rows[0], rows[1], dim=0)
    torch.testing.assert_close(cosines(matrix)[0, 1], wanted)
    assert cosines(matrix)[0, 2] == 0


def test_groups_of_the_tasks_that_are_in_the_round() -> None:
    alone, grouped = (_surgery("abcx", groups=groups) for groups in (None, (("a", "b", "c"), ("x",))))
    assert alone.plan(["a", "c", "x"], 0).groups == (("a",), ("c",), ("x",))
    assert grouped.plan(["a", "c", "x"], 0).groups == (("a", "c"), ("x",))
    assert grouped.plan(["a", "b"], 0).groups == (("a", "b"),)
