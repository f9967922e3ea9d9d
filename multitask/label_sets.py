"""A set of classes as one number: its bit k says whether class k is in it. Rows of tasks with several labels have such numbers."""

from collections.abc import Iterable

import numpy as np

# A float holds whole numbers of so many bits.
MOST_CLASSES = 52


def set_number(classes: Iterable[int]) -> float:
    """The number of a set of classes."""
    return float(sum(1 << k for k in set(classes)))


def set_members(number: float) -> list[int]:
    """The classes in a set, in order."""
    bits = int(number)
    return [k for k in range(bits.bit_length()) if bits >> k & 1]


def set_indicators(numbers: np.ndarray, classes: int) -> np.ndarray:
    """Which of C classes are in each of R sets: (R,) to (R, C), bool."""
    return (numbers.astype(np.int64)[:, None] >> np.arange(classes)) % 2 == 1
