"""Shares of a thousand ranks: each element has one owner."""

import numpy as np
import pytest

from cluster.scale.shares import Shares

GROUPS = [{"a": 1000, "b": 7, "c": 123_457}, {"d": 3}]


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("world", [1, 2, 7, 64, 4096])
def test_every_element_has_one_owner(world: int, stage: int) -> None:
    shares = Shares(GROUPS, world, stage)
    for group in GROUPS:
        for name, size in group.items():
            start, number = shares.fragment(name)
            pieces = sorted((int(low), int(n)) for low, n in zip(start, number, strict=True) if n)
            assert sum(n for _, n in pieces) == size
            assert [low for low, _ in pieces] == np.cumsum([0, *(n for _, n in pieces[:-1])]).tolist()
    assert shares.owned(["a", "c"]).sum() == 124_457


@pytest.mark.parametrize("stage", [1, 3])
def test_no_rank_owns_more_than_its_shard(stage: int) -> None:
    shares = Shares(GROUPS, 7, stage)
    assert (shares.owned(GROUPS[0]) <= shares.shards[0]).all()
    assert 7 * shares.shards[0] - 124_464 < 2 * 7 * len(GROUPS[0])
