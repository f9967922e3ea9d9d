"""A column of numbers that stays in the mapped file."""

from collections.abc import Sequence
from typing import Any

import numpy as np


class MappedColumn:
    """Numbers of all rows, read where they are asked for: `column[rows]` copies these rows only.

    `np.asarray(column)` copies all of them into the process's memory.
    """

    def __init__(self, chunks: Sequence[np.ndarray], starts: np.ndarray) -> None:
        self._chunks, self._starts = chunks, starts
        self.dtype = chunks[0].dtype if chunks else np.dtype(np.float32)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: Any) -> np.ndarray:
        numbers = np.asarray(rows, np.int64)
        places = np.searchsorted(self._starts, numbers, side="right") - 1
        found = np.empty(numbers.shape, self.dtype)
        for place in np.unique(places):
            here = places == place
            found[here] = self._chunks[place][numbers[here] - self._starts[place]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = np.concatenate(self._chunks) if self._chunks else np.zeros(0, self.dtype)
        return whole if dtype is None else whole.astype(dtype)

    def mean(self) -> float:
        """The mean of all rows."""
        return float(sum(chunk.sum(dtype=np.float64) for chunk in self._chunks) / max(1, len(self)))
