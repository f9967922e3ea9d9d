"""Ids that occur twice."""

from array import array
from typing import NamedTuple

import numpy as np


class Place(NamedTuple):
    """Where a row stands: number of the file, and its line; in memory 0 and its number."""

    file: int
    line: int


class IdLedger:
    """Remembers every id as a 64-bit hash with its place: 20 bytes a row, whatever the ids' length."""

    def __init__(self) -> None:
        self._hashes = array("q")
        self._files = array("I")
        self._lines = array("q")

    def add(self, identifier: str, place: Place) -> None:
        """Note one row's id. The hash is Python's own: it is compared within this process only."""
        self._hashes.append(hash(identifier))
        self._files.append(place.file)
        self._lines.append(place.line)

    def duplicates(self) -> list[tuple[Place, Place]]:
        """Each row whose id an earlier row has, with that earlier row; in the order of the file."""
        if not self._hashes:
            return []
        hashes = np.frombuffer(self._hashes, np.int64)
        order = np.argsort(hashes, kind="stable")
        again = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        return sorted((self._place(order[i + 1]), self._place(order[i])) for i in again.tolist())

    def _place(self, row: int) -> Place:
        return Place(self._files[row], self._lines[row])
