"""Which elements each of N ranks owns, worked out from shapes alone: what `cluster.zero.partition` reads off a DeepSpeed that runs."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

# DeepSpeed begins every rank's part of a flat group at a multiple of so many elements.
_ALIGNMENT = 2

Counts = np.ndarray


class Shares:
    """The shares of `world` ranks under ZeRO `stage`.

    `groups`: per parameter group, name to number of elements, in DeepSpeed's order.
    """

    def __init__(self, groups: Sequence[Mapping[str, int]], world: int, stage: int) -> None:
        self.groups, self.world, self.stage = groups, world, stage
        self.shards = [self._shard(group) for group in groups]

    def _shard(self, group: Mapping[str, int]) -> int:
        """Elements of a rank's shard of a group, padding included."""
        if self.stage == 3:
            return sum(self.piece(size) for size in group.values())
        aligned = _ALIGNMENT * self.world
        return -(-sum(group.values()) // aligned) * _ALIGNMENT

    def piece(self, size: int) -> int:
        """Elements of a rank's piece of a parameter of `size` elements under ZeRO 3, padding included."""
        return -(-size // self.world)

    def owned(self, names: Collection[str]) -> Counts:
        """(world,) int64: elements of these parameters that each rank owns."""
        total = np.zeros(self.world, np.int64)
        for name in names:
            total += self.fragment(name)[1]
        return total

    def fragment(self, name: str) -> tuple[Counts, Counts]:
        """First element and number of elements, (world,) int64 each, of the parameter `name` on each rank."""
        group, shard = next((g, s) for g, s in zip(self.groups, self.shards, strict=True) if name in g)
        ranks, size = np.arange(self.world, dtype=np.int64), group[name]
        if self.stage == 3:
            before, unit = 0, self.piece(size)
        else:
            names = list(group)
            before, unit = sum(group[other] for other in names[: names.index(name)]), shard
        low = np.clip(ranks * unit - before, 0, size)
        high = np.clip((ranks + 1) * unit - before, 0, size)
        return low, high - low
