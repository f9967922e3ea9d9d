"""Shares of ranks over many random rounds: every row once, in order, in few pieces, and as even as rows allow."""

import numpy as np
import pytest

from multitask.sampling import split_round


def _rounds(seed: int, number: int = 40) -> list[list[np.ndarray]]:
    """Rounds of one to five task batches of one to forty rows, with costs of very different size."""
    generator = np.random.default_rng(seed)
    return [
        [
            generator.integers(1, generator.integers(2, 500), generator.integers(1, 41))
            for _ in range(generator.integers(1, 6))
        ]
        for _ in range(number)
    ]


def _load(costs: list[np.ndarray], share: list[slice]) -> int:
    return int(sum(cost[piece].sum() for cost, piece in zip(costs, share, strict=True)))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("ranks", range(1, 8))
def test_every_row_belongs_to_one_rank_and_the_order_stays(ranks: int, packed: bool) -> None:
    for costs in _rounds(ranks):
        shares = split_round(costs, ranks, packed=packed)
        assert len(shares) == ranks
        for task, cost in enumerate(costs):
            given = np.concatenate([np.arange(len(cost))[share[task]] for share in shares])
            assert given.tolist() == list(range(len(cost)))


@pytest.mark.parametrize("ranks", range(1, 8))
def test_packed_shares_come_in_few_pieces_and_ranks_lie_side_by_side(ranks: int) -> None:
    for costs in _rounds(10 + ranks):
        shares = split_round(costs, ranks, packed=True)
        held = [[t for t, piece in enumerate(share) if piece.stop > piece.start] for share in shares]
        assert sum(len(tasks) for tasks in held) <= len(costs) + ranks - 1
        assert [t for tasks in held for t in tasks] == sorted(t for tasks in held for t in tasks)


@pytest.mark.parametrize("ranks", range(1, 8))
def test_packed_loads_differ_from_the_even_share_by_one_row_at_most(ranks: int) -> None:
    # A row goes to the rank in whose part its middle lies, so that each of a share's two ends is at most half a row off.
    for costs in _rounds(20 + ranks):
        even, largest = sum(int(c.sum()) for c in costs) / ranks, max(int(c.max()) for c in costs)
        done = 0
        for number, share in enumerate(split_round(costs, ranks, packed=True), start=1):
            load = _load(costs, share)
            assert abs(load - even) <= largest
            done += load
            assert abs(done - number * even) <= largest / 2 + 1e-6


@pytest.mark.parametrize("ranks", range(1, 8))
def test_unpacked_shares_are_even_in_every_task(ranks: int) -> None:
    for costs in _rounds(30 + ranks):
        shares = split_round(costs, ranks, packed=False)
        for task, cost in enumerate(costs):
            for share in shares:
                assert abs(cost[share[task]].sum() - cost.sum() / ranks) <= cost.max()


def test_equal_rows_are_cut_evenly() -> None:
    shares = split_round([np.full(8, 5), np.full(4, 5)], 3, packed=True)
    assert [(s[0].stop - s[0].start, s[1].stop - s[1].start) for s in shares] == [(4, 0), (4, 0), (0, 4)]
    shares = split_round([np.full(8, 5), np.full(4, 5)], 4, packed=False)
    assert [(s[0].stop - s[0].start, s[1].stop - s[1].start) for s in shares] == [(2, 1)] * 4


@pytest.mark.parametrize("packed", [True, False])
def test_more_ranks_than_rows_leave_some_without(packed: bool) -> None:
    shares = split_round([np.array([9, 3])], 5, packed=packed)
    sizes = [piece.stop - piece.start for (piece,) in shares]
    assert sorted(sizes) == [0, 0, 0, 1, 1]


def test_one_long_row_does_not_leave_its_rank_more_than_it_must() -> None:
    shares = split_round([np.array([100, 1, 1, 1])], 2, packed=True)
    assert [_load([np.array([100, 1, 1, 1])], share) for share in shares] == [100, 3]
    shares = split_round([np.array([10, 10, 100])], 2, packed=True)
    assert [_load([np.array([10, 10, 100])], share) for share in shares] == [20, 100]


@pytest.mark.parametrize("packed", [True, False])
def test_same_costs_give_the_same_shares(packed: bool) -> None:
    for costs in _rounds(50, 5):
        first = split_round(costs, 3, packed=packed)
        assert split_round([cost.astype(np.int32) for cost in costs], 3, packed=packed) == first
