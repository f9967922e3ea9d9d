"""Parameters that are sent together, and where their gradients lie in what is sent."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from cluster.step.layout import Layout


class Bucket:
    """Some parameters of a layout, in its order.

    `sizes`: elements by owner; `runs[owner]`: the same elements as (first in the bucket, first in the owner's segment, number).
    """

    def __init__(self, layout: Layout, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.sizes = [0] * len(layout.segments)
        self.runs: list[list[tuple[int, int, int]]] = [[] for _ in layout.segments]
        # Parameter to (first of its elements, number, owner, first in the owner's part of the bucket).
        self.pieces: dict[str, list[tuple[int, int, int, int]]] = {name: [] for name in names}
        for name in names:
            for owner, fragment, position in layout.places[name]:
                at, size = self.sizes[owner], fragment.size
                self.pieces[name].append((fragment.start, size, owner, at))
                self._extend(self.runs[owner], at, position, size)
                self.sizes[owner] += size

    @staticmethod
    def _extend(runs: list[tuple[int, int, int]], at: int, position: int, size: int) -> None:
        if runs and sum(runs[-1][1:]) == position:
            at, position, before = runs.pop()
            size += before
        runs.append((at, position, size))

    def shared_size(self, number: int, block: int) -> int:
        """Elements of the owners that have this number in their blocks of `block` ranks."""
        return sum(self.sizes[number::block])

    @cached_property
    def size(self) -> int:
        """Elements of the bucket, over all owners."""
        return sum(self.sizes)


def cut(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Parameters of so many elements in buckets of at most `most`, in the order of a backward pass: the last parameters first.

    A parameter is never divided; a larger one has a bucket of its own.
    """
    buckets: list[list[str]] = []
    total = 0
    for name, size in reversed(list(sizes.items())):
        if not buckets or total + size > most:
            buckets.append([])
            total = 0
        buckets[-1].insert(0, name)
        total += size
    return buckets


def bucket_elements(megabytes: float) -> int:
    """Elements in fp32 of a bucket of so many MiB."""
    return int(megabytes * 2**20) // 4
