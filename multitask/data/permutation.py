"""Random permutations that are computed where they are asked, not stored."""

import hashlib

import numpy as np

_ROUNDS = 6


class Permutation:
    """A permutation of 0 … size − 1, keyed, in constant memory.

    A Feistel network of six rounds over the smallest even number of bits that holds `size` is a permutation of
    that many bits; values outside the range are sent through it again until they fall inside (cycle walking, Black
    and Rogaway 2002, "Ciphers with arbitrary finite domains"). Integer arithmetic only, so that every machine
    computes the same.
    """

    def __init__(self, size: int, *key: int | str) -> None:
        self.size = size
        self._half = np.uint64(max(1, -(-max(1, (size - 1).bit_length()) // 2)))
        self._low = np.uint64((1 << int(self._half)) - 1)
        digest = hashlib.sha512("/".join(map(str, key)).encode()).digest()
        self._keys = np.frombuffer(digest[: 8 * _ROUNDS], dtype="<u8").astype(np.uint64)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """What stands at `positions`, int64 of the same shape."""
        values = self._network(positions.astype(np.uint64))
        outside = values >= self.size
        while outside.any():
            values[outside] = self._network(values[outside])
            outside = values >= self.size
        return values.astype(np.int64)

    def _network(self, values: np.ndarray) -> np.ndarray:
        left, right = values >> self._half, values & self._low
        for key in self._keys:
            left, right = right, left ^ (_mix(right ^ key) & self._low)
        return (left << self._half) | right


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): each bit of the result depends on all bits."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
