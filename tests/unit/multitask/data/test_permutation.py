import numpy as np
import pytest

from multitask.data.permutation import Permutation


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100, 1000, 4097])
def test_every_number_comes_once(size: int) -> None:
    drawn = Permutation(size, 1, "task")(np.arange(size))
    assert sorted(drawn.tolist()) == list(range(size))


def test_positions_are_independent_of_what_else_is_asked() -> None:
    whole = Permutation(1000, "a")(np.arange(1000))
    assert np.array_equal(Permutation(1000, "a")(np.array([999, 3, 500])), whole[[999, 3, 500]])


def test_large_range_needs_no_memory_of_its_size() -> None:
    drawn = Permutation(10**15, "a")(np.arange(5))
    assert len(set(drawn.tolist())) == 5
    assert drawn.max() < 10**15


def test_order_looks_random() -> None:
    """Over 400 keys each number stands in each place about equally often, and neighbours do not stay neighbours."""
    size, keys = 10, 4000
    counts = np.zeros((size, size))
    for key in range(keys):
        counts[np.arange(size), Permutation(size, key)(np.arange(size))] += 1
    expected = keys / size
    chi_square = ((counts - expected) ** 2 / expected).sum()
    # (size - 1)² = 81 degrees of freedom: mean 81, standard deviation 13.
    assert 81 - 5 * 13 < chi_square < 81 + 5 * 13
    order = Permutation(5000, "x")(np.arange(5000))
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05
    assert abs(np.corrcoef(np.arange(5000), order)[0, 1]) < 0.05


def test_keys_give_other_orders() -> None:
    orders = {tuple(Permutation(20, *key)(np.arange(20))) for key in ((1, "a"), (2, "a"), (1, "b"), ("1/a",))}
    # Parts are joined by "/": (1, "a") and ("1/a",) are one key.
    assert len(orders) == 3
