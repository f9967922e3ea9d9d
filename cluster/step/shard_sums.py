"""This rank's shards of the group gradients, summed over the ranks as their parts arrive."""

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from cluster.step.buckets import Bucket
from cluster.step.layout import Layout
from cluster.step.stopwatch import Stopwatch

HEADS = -1


class Entry(NamedTuple):
    """A bucket of the gradient of group `row`, or of `HEADS`."""

    row: int
    bucket: Bucket


class _Underway(NamedTuple):
    work: Any
    sent: Tensor
    received: Tensor
    entries: Sequence[Sequence[Entry]]


class Wire:
    """How gradients cross the network: in `dtype`, over connections of their own.

    What is sent while a backward pass goes on may then come before or after what DeepSpeed gathers in it.
    """

    def __init__(self, dtype: torch.dtype, timeout_s: float) -> None:
        self.dtype = dtype
        self.group = dist.new_group(timeout=timedelta(seconds=timeout_s)) if dist.get_world_size() > 1 else None


class ShardSums:
    """`rows` (G, S): this rank's shard of each group gradient; `head`: its shard of the heads' gradient; both fp32.

    Sums run in the order of the ranks, whatever arrives first, so that all runs agree.
    """

    def __init__(self, shared: Layout, heads: Layout, wire: Wire, device: torch.device, watch: Stopwatch) -> None:
        self.rank = dist.get_rank()
        self._segment, self._wire, self._watch = shared.segments[self.rank], wire, watch
        self._memory = torch.empty(0, dtype=torch.float32, device=device)
        self.rows = self._memory.view(0, 0)
        self.head = torch.zeros(heads.segments[self.rank], dtype=torch.float32, device=device)
        self._underway: deque[_Underway] = deque()

    def begin(self, groups: int, idle: Iterable[int]) -> None:
        """A step of so many groups, of which nobody holds the `idle` ones."""
        size = groups * self._segment
        if size > self._memory.numel():
            self._memory = self._memory.new_empty(size)
        self.rows = self._memory[:size].view(groups, self._segment)
        for row in idle:
            self.rows[row].zero_()
        self.head.zero_()

    def send(self, entries: Sequence[Sequence[Entry]], parts: Tensor) -> None:
        """Begin to send `parts`, of this rank's entries: per owner those of all entries, one after the other.

        `entries[rank]`: what that rank sends in the same call. All ranks make the same calls, in the same order.
        """
        give = [sum(bucket.sizes[owner] for _, bucket in entries[self.rank]) for owner in range(len(entries))]
        take = [sum(bucket.sizes[self.rank] for _, bucket in held) for held in entries]
        sent = parts.to(self._wire.dtype)
        received = sent.new_empty(sum(take))
        work = dist.all_to_all_single(received, sent, take, give, group=self._wire.group, async_op=True)
        self._underway.append(_Underway(work, sent, received, entries))

    def wait(self, most: int) -> None:
        """Wait until no more than `most` calls of `send` are underway, and sum what they brought."""
        while len(self._underway) > most:
            with self._watch("communicate"):
                first = self._underway.popleft()
                first.work.wait()
                self._add(first)

    def _add(self, arrived: _Underway) -> None:
        position, copied = 0, set()
        for held in arrived.entries:
            for row, bucket in held:
                target = self.head if row == HEADS else self.rows[row]
                for at, start, size in bucket.runs[self.rank]:
                    part = arrived.received[position + at : position + at + size]
                    own = target[start : start + size]
                    own.add_(part) if (row, bucket) in copied else own.copy_(part)
                copied.add((row, bucket))
                position += bucket.sizes[self.rank]
