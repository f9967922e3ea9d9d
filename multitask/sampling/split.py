"""Which rank computes which rows of a round."""

from collections.abc import Sequence

import numpy as np


def split_round(costs: Sequence[np.ndarray], ranks: int, *, packed: bool) -> list[list[slice]]:
    """Cut the task batches of a round into shares of even cost.

    `costs`: per task batch the tokens of each of its rows. Returns per rank and task batch the slice of rows that
    the rank computes; together the slices of all ranks are every row once, whatever the numbers.

    With `packed` the rows of all task batches are laid end to end and cut once, so that a rank holds as few tasks
    as can be: K tasks on N ranks make at most K + N − 1 pieces, not K · N, and so many task gradients cross the
    network. Otherwise each task batch is cut by itself, and every rank takes part in every task (a rank may get no
    row of a batch that has fewer rows than there are ranks): what ZeRO 3 needs, whose ranks gather parameters together.
    """
    lengths = [len(cost) for cost in costs]
    if packed:
        bounds = _cut(np.concatenate(costs), ranks)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        return [
            [_overlap(bounds[r], bounds[r + 1], starts[t], starts[t + 1]) for t in range(len(costs))]
            for r in range(ranks)
        ]
    cuts = [_cut(cost, ranks) for cost in costs]
    return [[slice(int(cut[r]), int(cut[r + 1])) for cut in cuts] for r in range(ranks)]


def _cut(cost: np.ndarray, ranks: int) -> np.ndarray:
    """Positions 0 = b₀ ≤ … ≤ b_ranks = rows such that a row goes where the middle of its cost lies."""
    ends = np.cumsum(cost, dtype=np.int64)
    middles = 2 * ends - cost
    targets = 2 * ends[-1] * np.arange(ranks + 1, dtype=np.int64)
    bounds = np.searchsorted(middles * ranks, targets, side="left")
    bounds[-1] = len(cost)
    return bounds


def _overlap(start: int, end: int, first: int, last: int) -> slice:
    low, high = max(start, first), min(end, last)
    return slice(int(low - first), int(high - first)) if low < high else slice(0, 0)
