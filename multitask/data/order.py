"""The order in which a task's rows are visited: random, cut from length-sorted pools, a pure function of its key."""

from collections.abc import Sequence
from typing import overload

import numpy as np

from multitask.batch_numbers import number_of_batches
from multitask.data.column import MappedColumn
from multitask.data.permutation import Permutation

_LEAST_POOLS, _LEAST_BATCHES = 2, 4


class EpochBatches(Sequence[np.ndarray]):
    """The batches of one pass, each worked out when it is asked for; only the last pool asked for is kept.

    The pass's rows are permuted and cut into pools of about `pool_batches` batches, as even as can be, and into at least
    2 pools where these still hold 4 batches each: in one pool for all, the same rows would meet in most passes. A pool is
    sorted by length, cut into batches, and these are shuffled. Every row comes exactly once; where the rows do not
    divide, the last batch is short, or takes what is left besides where that is fewer than `least_rows`.
    """

    def __init__(
        self,
        lengths: np.ndarray | MappedColumn,
        rows: Permutation,
        first: int,
        size: int,
        batch_size: int,
        pool_batches: int,
        least_rows: int,
        key: str,
    ) -> None:
        self._lengths, self._rows, self._first, self._size = lengths, rows, first, size
        self._batch_size, self._key = batch_size, key
        self._number = number_of_batches(size, batch_size, least_rows=least_rows)
        self._pools = max(1, min(_LEAST_POOLS, self._number // _LEAST_BATCHES), round(self._number / pool_batches))
        self._kept: tuple[int, list[np.ndarray]] = (-1, [])

    def __len__(self) -> int:
        return self._number

    @overload
    def __getitem__(self, number: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, number: slice) -> list[np.ndarray]: ...
    def __getitem__(self, number: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        pool = ((number + 1) * self._pools - 1) // self._number
        if self._kept[0] != pool:
            self._kept = (pool, self._cut(pool))
        return self._kept[1][number - pool * self._number // self._pools]

    def _cut(self, pool: int) -> list[np.ndarray]:
        begin, end = (p * self._number // self._pools for p in (pool, pool + 1))
        last = self._size if end == self._number else end * self._batch_size
        positions = np.arange(begin * self._batch_size, last)
        rows = self._rows(positions + self._first)
        rows = rows[np.argsort(self._lengths[rows], kind="stable")]
        batches = np.split(rows, range(self._batch_size, (end - begin) * self._batch_size, self._batch_size))
        full = len(batches) - (len(batches[-1]) != self._batch_size)
        order = Permutation(full, self._key, "pool", pool)(np.arange(full))
        return [batches[n] for n in order] + batches[full:]


def epoch_batches(
    lengths: np.ndarray | MappedColumn,
    batch_size: int,
    *,
    seed: int,
    task: str,
    epoch: int,
    pool_batches: int = 64,
    rows_per_pass: int | None = None,
    least_rows: int = 1,
) -> EpochBatches:
    """Batches of row numbers for pass `epoch` over a task whose rows have `lengths` (rows,) tokens.

    With `rows_per_pass` below the number of rows, consecutive passes take consecutive stretches of one permutation of
    all rows, as many as it holds whole, and then go on with the next permutation. So no row comes twice in a pass, nor
    again before the permutation is through. A last batch of fewer than `least_rows` is joined to the one before.

    The same arguments give the same batches on every machine and with every version of numpy; the memory does not
    grow with the number of rows.
    """
    total = len(lengths)
    size = min(total, rows_per_pass or total)
    passes = total // size if size else 1
    number, stretch = divmod(epoch, passes)
    key = f"{seed}/{task}"
    rows = Permutation(total, key, "rows", number)
    return EpochBatches(lengths, rows, stretch * size, size, batch_size, pool_batches, least_rows, f"{key}/{epoch}")
