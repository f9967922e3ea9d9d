import itertools
from collections import Counter

import numpy as np
import pytest

from multitask.batch_numbers import number_of_batches
from multitask.data import epoch_batches


def random_lengths(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 100, rows).astype(np.int32)


def flat(batches: list[np.ndarray]) -> list[int]:
    return np.concatenate(batches).tolist()


@pytest.mark.parametrize(("rows", "batch_size"), [(1, 4), (7, 1), (100, 10), (1001, 32), (5, 8)])
@pytest.mark.parametrize("pool_batches", [1, 3, 64])
def test_every_row_comes_exactly_once(rows: int, batch_size: int, pool_batches: int) -> None:
    batches = epoch_batches(random_lengths(rows), batch_size, seed=1, task="t", epoch=0, pool_batches=pool_batches)
    assert sorted(flat(batches)) == list(range(rows))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches) == number_of_batches(rows, batch_size) == -(-rows // batch_size)


@pytest.mark.parametrize(
    ("rows", "batch_size", "sizes"),
    [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (1, 4, [1]), (3, 1, [1, 1, 1]), (13, 3, [3, 3, 3, 4])],
)
@pytest.mark.parametrize("pool_batches", [1, 64])
def test_a_last_batch_of_one_row_is_joined_to_the_one_before(
    rows: int, batch_size: int, sizes: list[int], pool_batches: int
) -> None:
    options: dict[str, int] = {"pool_batches": pool_batches, "least_rows": 2 if batch_size > 1 else 1}
    for epoch in range(3):
        batches = epoch_batches(random_lengths(rows), batch_size, seed=1, task="t", epoch=epoch, **options)
        assert [len(batch) for batch in batches] == sizes
        assert sorted(flat(batches)) == list(range(rows))
        assert len(batches) == number_of_batches(rows, batch_size, least_rows=options["least_rows"])


def test_no_rows_give_no_batches() -> None:
    assert list(epoch_batches(np.zeros(0, np.int32), 4, seed=0, task="t", epoch=0)) == []
    assert number_of_batches(0, 4) == 0


def test_order_is_the_same_on_every_machine() -> None:
    """Values written down once: they depend on no library's shuffle."""
    batches = epoch_batches(np.full(10, 7, np.int32), 4, seed=5, task="sst", epoch=2)
    assert [batch.tolist() for batch in batches] == [[5, 3, 4, 6], [0, 1, 8, 2], [7, 9]]


def test_seed_task_and_epoch_each_change_the_order() -> None:
    lengths = random_lengths(200)
    keys = itertools.product((0, 1), ("a", "b"), (0, 1))
    orders = {tuple(flat(epoch_batches(lengths, 8, seed=s, task=t, epoch=e))) for s, t, e in keys}
    assert len(orders) == 8


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    lengths = random_lengths(50)
    np.random.seed(3)
    before = epoch_batches(lengths, 8, seed=0, task="a", epoch=0)
    drawn = np.random.random()
    np.random.seed(3)
    assert drawn == np.random.random()
    np.random.seed(4)
    assert flat(before) == flat(epoch_batches(lengths, 8, seed=0, task="a", epoch=0))


def test_rows_and_neighbours_differ_from_epoch_to_epoch() -> None:
    """Batch mates are not fixed by length: few pairs of rows meet again."""
    lengths = random_lengths(2000)
    pairs = []
    for epoch in (0, 1):
        batches = epoch_batches(lengths, 8, seed=0, task="a", epoch=epoch, pool_batches=16)
        pairs.append({pair for batch in batches for pair in itertools.combinations(sorted(batch.tolist()), 2)})
    assert len(pairs[0] & pairs[1]) < 0.1 * len(pairs[0])


def test_batches_of_all_lengths_are_spread_over_the_epoch() -> None:
    lengths = random_lengths(6400)
    means = np.array([lengths[b].mean() for b in epoch_batches(lengths, 32, seed=0, task="a", epoch=0)])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3
    assert abs(means[:50].mean() - means[-50:].mean()) < 15


def test_sorted_pools_leave_little_padding() -> None:
    lengths = random_lengths(20_000)
    padded = [share_of_padding(lengths, 32, pool_batches=pool) for pool in (1, 64)]
    assert padded[0] > 0.3
    assert padded[1] < 0.02


def share_of_padding(lengths: np.ndarray, batch_size: int, **options: int) -> float:
    batches = epoch_batches(lengths, batch_size, seed=0, task="a", epoch=0, **options)
    slots = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1 - int(lengths[np.concatenate(batches)].sum()) / slots


@pytest.mark.parametrize(
    ("rows", "per_epoch"), [(10, 7), (10, 3), (10, 5), (10, 9), (7, 6), (12, 8), (11, 4), (100, 33)]
)
def test_short_passes_take_stretches_of_permutations(rows: int, per_epoch: int) -> None:
    lengths = random_lengths(rows)
    whole = rows // per_epoch
    seen: Counter[int] = Counter()
    for epoch in range(60 * whole):
        batches = epoch_batches(lengths, 3, seed=2, task="t", epoch=epoch, rows_per_pass=per_epoch)
        drawn = flat(batches)
        assert len(drawn) == per_epoch
        assert len(batches) == number_of_batches(rows, 3, per_epoch)
        if epoch % whole == 0:
            fresh: set[int] = set()
        assert not fresh & set(drawn)
        fresh |= set(drawn)
        seen.update(drawn)
    # 60 permutations: no row is favoured beyond chance.
    expected = 60 * whole * per_epoch / rows
    assert all(abs(seen[row] - expected) < 5 * expected**0.5 + 1 for row in range(rows))


def test_first_passes_cover_all_rows_before_any_comes_again() -> None:
    lengths = random_lengths(100)
    passes = [flat(epoch_batches(lengths, 8, seed=0, task="t", epoch=e, rows_per_pass=25)) for e in range(8)]
    assert sorted(itertools.chain(*passes[:4])) == list(range(100)) == sorted(itertools.chain(*passes[4:]))
    assert set(passes[0]) != set(passes[4])


def test_a_later_pass_does_not_need_the_earlier_ones() -> None:
    """Resuming is arithmetic: asking for pass 41 first gives what asking for it last gives."""
    lengths = random_lengths(10)
    direct = flat(epoch_batches(lengths, 3, seed=0, task="t", epoch=41, rows_per_pass=7))
    for epoch in range(41):
        epoch_batches(lengths, 3, seed=0, task="t", epoch=epoch, rows_per_pass=7)
    assert direct == flat(epoch_batches(lengths, 3, seed=0, task="t", epoch=41, rows_per_pass=7))


def test_rows_per_pass_of_all_rows_or_more_changes_nothing() -> None:
    lengths = random_lengths(50)
    plain = flat(epoch_batches(lengths, 8, seed=0, task="t", epoch=3))
    for more in (50, 80):
        assert flat(epoch_batches(lengths, 8, seed=0, task="t", epoch=3, rows_per_pass=more)) == plain
        assert number_of_batches(50, 8, more) == 7
