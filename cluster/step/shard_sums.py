"""This rank's shards of the group gradients, summed over the ranks as their parts arrive."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from cluster.step.buckets import Bucket
from cluster.step.layout import Layout
from cluster.step.stopwatch import Stopwatch
from cluster.step.wire import Wire

HEADS = -1


class Entry(NamedTuple):
    """A bucket of the gradient of group `row`, or of `HEADS`."""

    row: int
    bucket: Bucket


Entries = Sequence[Sequence[Entry]]


class _Underway(NamedTuple):
    """`entries`: by rank, or by block, what comes of it; `sent` must live until it has left."""

    work: Any
    sent: Tensor
    received: Tensor
    entries: Entries


class ShardSums:
    """`rows` (G, S): this rank's shard of each group gradient; `head`: its shard of the heads' gradient; both fp32.

    Sums run in pairs of ranks, of pairs and so on, whatever arrives first and whichever ranks share a host, so that all runs
    agree.
    """

    def __init__(self, shared: Layout, heads: Layout, wire: Wire, device: torch.device, watch: Stopwatch) -> None:
        self.rank = dist.get_rank()
        self.block, self._blocks = wire.block, wire.blocks
        self._segment, self._wire, self._watch = shared.segments[self.rank], wire, watch
        self._memory = torch.empty(0, dtype=torch.float32, device=device)
        self.rows = self._memory.view(0, 0)
        self.head = torch.zeros(heads.segments[self.rank], dtype=torch.float32, device=device)
        self._within: deque[_Underway] = deque()
        self._between: deque[_Underway] = deque()

    def begin(self, groups: int, idle: Iterable[int]) -> None:
        """A step of so many groups, of which nobody holds the `idle` ones."""
        size = groups * self._segment
        if size > self._memory.numel():
            self._memory = self._memory.new_empty(size)
        self.rows = self._memory[:size].view(groups, self._segment)
        for row in idle:
            self.rows[row].zero_()
        self.head.zero_()

    def send(self, entries: Entries, parts: Tensor) -> None:
        """Begin to send `parts`, of this rank's entries, in the order of `owner_major`.

        `entries[rank]`: what that rank sends in the same call. All ranks make the same calls, in the same order.
        """
        number, mine = self.rank % self.block, self.rank - self.rank % self.block
        give = [sum(b.shared_size(other, self.block) for _, b in entries[self.rank]) for other in range(self.block)]
        take = [sum(b.shared_size(number, self.block) for _, b in held) for held in entries[mine : mine + self.block]]
        self._within.append(self._start(parts, give, take, self._wire.within, entries))

    def _start(self, parts: Tensor, give: list[int], take: list[int], group: Any, entries: Entries) -> _Underway:
        sent = parts.to(self._wire.dtype)
        received = sent.new_empty(sum(take))
        work = dist.all_to_all_single(received, sent, take, give, group=group, async_op=True)
        return _Underway(work, sent, received, entries)

    def wait(self, most: int) -> None:
        """Wait until no more than `most` calls of `send` are underway, in each block and between them, and sum what they brought."""
        for underway, take in ((self._within, self._sum_block), (self._between, self._finish)):
            while len(underway) > most:
                with self._watch("communicate"):
                    first = underway.popleft()
                    first.work.wait()
                    take(first)

    def _sum_block(self, arrived: _Underway) -> None:
        """Sum what the ranks of this block sent, and send on what is other blocks'."""
        number, block = self.rank % self.block, self.rank // self.block
        by_block = [arrived.entries[b * self.block : (b + 1) * self.block] for b in range(self._blocks)]
        totals = _in_pairs(arrived.received, by_block[block], lambda bucket: bucket.shared_size(number, self.block))
        if self._blocks == 1:
            self._write(totals)
            return
        # What a block has, by the first of its ranks that has it: the same on all ranks.
        held = [list(dict.fromkeys(entry for own in ranks for entry in own)) for ranks in by_block]
        owners = range(number, self.block * self._blocks, self.block)
        cut = {entry: totals[entry].split([entry.bucket.sizes[owner] for owner in owners]) for entry in held[block]}
        parts = [cut[entry][b] for b in range(self._blocks) for entry in held[block]]
        give = [sum(entry.bucket.sizes[owner] for entry in held[block]) for owner in owners]
        take = [sum(entry.bucket.sizes[self.rank] for entry in own) for own in held]
        flat = totals[held[block][0]] if len(held[block]) == 1 else torch.cat([self.head[:0], *parts])
        self._between.append(self._start(flat, give, take, self._wire.between, held))

    def _finish(self, arrived: _Underway) -> None:
        self._write(_in_pairs(arrived.received, arrived.entries, lambda bucket: bucket.sizes[self.rank]))

    def _write(self, totals: dict[Entry, Tensor]) -> None:
        for (row, bucket), total in totals.items():
            target = self.head if row == HEADS else self.rows[row]
            for at, start, size in bucket.runs[self.rank]:
                target[start : start + size].copy_(total[at : at + size])


def _in_pairs(received: Tensor, entries: Entries, size_of: Callable[[Bucket], int]) -> dict[Entry, Tensor]:
    """The sums in fp32 of what several senders have of each entry: of `entries[sender]` one after the other, sender after sender."""
    numbers, position = received.float(), 0
    parts: dict[Entry, dict[int, Tensor]] = {}
    for sender, held in enumerate(entries):
        for entry in held:
            size = size_of(entry.bucket)
            parts.setdefault(entry, {})[sender] = numbers[position : position + size]
            position += size
    return {entry: _total(own, len(entries)) for entry, own in parts.items()}


def _total(parts: dict[int, Tensor], senders: int) -> Tensor:
    """The sum of the parts, in the first of them: neighbours first, then neighbouring pairs, as if absent ones were zero."""
    step = 1
    while step < senders:
        for sender in range(0, senders, 2 * step):
            other = parts.pop(sender + step, None)
            if other is not None:
                parts[sender] = parts[sender].add_(other) if sender in parts else other
        step *= 2
    return parts[0]
