"""The order in which a task's rows are visited: random, cut from length-sorted pools, a pure function of its key."""

import hashlib
import math

import numpy as np

_ROWS, _BATCHES = 0, 1


def epoch_batches(
    lengths: np.ndarray,
    batch_size: int,
    *,
    seed: int,
    task: str,
    epoch: int,
    pool_batches: int = 64,
    rows_per_epoch: int | None = None,
) -> list[np.ndarray]:
    """Batches of row numbers for pass `epoch` over a task whose rows have `lengths` (rows,) tokens.

    The pass's rows are permuted, cut into pools of `batch_size * pool_batches`, each pool sorted by length and cut into
    batches, and the batches shuffled. Every row comes exactly once; where the rows do not divide, the last batch is short.

    With `rows_per_epoch` below the number of rows, a pass takes the next so many of an endless stream of permutations of all
    rows: all come up before any comes again, and none twice in one pass.

    The same arguments give the same batches on every machine and with every version of numpy.
    """
    rows = min(len(lengths), rows_per_epoch or len(lengths))
    if rows == 0:
        return []
    order = _pass_rows(len(lengths), rows, seed, task, epoch)
    pool = batch_size * pool_batches
    pools = [order[start : start + pool] for start in range(0, rows, pool)]
    order = np.concatenate([rows[np.argsort(lengths[rows], kind="stable")] for rows in pools])
    batches = [order[start : start + batch_size] for start in range(0, rows, batch_size)]
    full = rows // batch_size
    shuffled = [batches[number] for number in _permutation(full, seed, task, _BATCHES, epoch)]
    return shuffled + batches[full:]


def number_of_batches(rows: int, batch_size: int, rows_per_epoch: int | None = None) -> int:
    """Batches of one pass, the short one counted."""
    return math.ceil(min(rows, rows_per_epoch or rows) / batch_size)


def _pass_rows(total: int, rows: int, seed: int, task: str, epoch: int) -> np.ndarray:
    """Positions `epoch * rows` … `(epoch + 1) * rows` of the stream of permutations."""
    start = epoch * rows
    first, last = start // total, (start + rows - 1) // total
    # A permutation depends on the one before only where a pass lies across both; every so many there is a clean cut.
    clean = first - first % (rows // math.gcd(total, rows))
    order = _permutation(total, seed, task, _ROWS, clean)
    taken = order[:0]
    for number in range(clean + 1, last + 1):
        taken = order
        order = _permutation(total, seed, task, _ROWS, number)
        tail = number * total % rows
        if tail:
            order = _postpone(order, taken[total - tail :], rows - tail)
    stream = order if first == last else np.concatenate([taken, order])
    offset = start - first * total
    return stream[offset : offset + rows]


def _postpone(order: np.ndarray, taken: np.ndarray, head: int) -> np.ndarray:
    """`order` with rows of `taken` moved out of its first `head` places, by the first rows after them that are free."""
    free = ~np.isin(order, taken)
    front = np.flatnonzero(free)[:head]
    rest = np.ones(len(order), bool)
    rest[front] = False
    return np.concatenate([order[front], order[rest]])


def _permutation(size: int, *key: int | str) -> np.ndarray:
    """A permutation of `size` keyed by `key`; from the raw bit stream, which numpy keeps the same for ever."""
    words = [int.from_bytes(hashlib.sha256(part.encode()).digest()) if isinstance(part, str) else part for part in key]
    raw = np.random.PCG64(np.random.SeedSequence(words)).random_raw(size)
    return np.argsort(raw, kind="stable")
