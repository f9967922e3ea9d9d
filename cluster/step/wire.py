"""How gradients cross the network: over which connections, in what numbers, and by way of which ranks."""

from collections.abc import Hashable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist


class Wire:
    """The connections of gradients, apart from those of DeepSpeed: what is sent while a backward pass goes on may come before or
    after what it gathers.

    `dtype`: of the numbers that are sent. Ranks lie in blocks of `block`, one after the other: rank r is number r mod `block` of
    its block. A gradient is summed in each block first, by the rank there that has the number of its owner, and then between
    the blocks. With all ranks in one block, the default, everyone sends each owner its part.
    """

    def __init__(self, dtype: torch.dtype, timeout_s: float, block: int | None = None) -> None:
        rank, world = dist.get_rank(), dist.get_world_size()
        self.dtype, self.block, self.blocks = dtype, block or world, world // (block or world)
        self.within, self.between = None, None
        if world == 1:
            return
        timeout = timedelta(seconds=timeout_s)
        if self.blocks == 1:
            self.within = dist.new_group(timeout=timeout)
            return
        first, number = rank - rank % self.block, rank % self.block
        self.within = _group(range(first, first + self.block), timeout)
        self.between = _group(range(number, world, self.block), timeout)


def _group(ranks: Sequence[int], timeout: timedelta) -> Any:
    """Of these ranks, which alone call for it."""
    return dist.new_group(ranks=list(ranks), timeout=timeout, use_local_synchronization=True)


def block_size(hosts: Sequence[Hashable]) -> int:
    """How many ranks make a block, where rank r is on `hosts[r]`: those of one host, so that less crosses from host to host.

    A power of two, since sums run in pairs: then they are the same to the bit as without blocks. All ranks, where there is one
    host, or where no two ranks in a row share one everywhere.
    """
    world, size = len(hosts), 1
    if len(set(hosts)) == 1:
        return world
    while world % (2 * size) == 0 and all(hosts[r] == hosts[r - r % (2 * size)] for r in range(world)):
        size *= 2
    return size if size > 1 else world
