"""What the ranks send each other in one step: the formulas of the plan, of docs/scale.md, and of the test that counts.

Bytes are what a rank sends to other ranks. An all-to-all has a message for each of them, an all-gather sends the rank's own part to
each, an all-reduce goes round as a ring does: twice N − 1 messages of an N-th, in whole elements.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from cluster.scale.model_shape import ModelShape
from cluster.scale.rank_work import StepWork
from cluster.scale.shares import Counts, Shares
from cluster.step.buckets import bucket_elements, cut
from cluster.zero.gathering import SMALL_GROUP_BYTES
from multitask.config.cluster import ClusterConfig

_BF16, _FP32, _FP64, _INT64 = 2, 4, 8, 8
# How the names of the buckets begin that leave while the backward pass goes on.
GRADIENTS = "gradients"
T = TypeVar("T")
Kind = Literal["all_to_all", "all_reduce", "all_gather"]


class Collective(NamedTuple):
    """One collective of a step. `sent` (N,): bytes that each rank sends; `outside` (N,): to other hosts of these. `messages`: of a rank."""

    name: str
    kind: Kind
    sent: Counts
    outside: Counts
    messages: int


class Traffic:
    """The collectives of a step, in their order; none where there is one rank.

    `hosts` (N,): the host of each rank; `block`: ranks whose gradients are summed before they cross to others.
    """

    def __init__(
        self, shape: ModelShape, shares: Shares, hosts: Counts, block: int, *, weight_bytes: int, cluster: ClusterConfig
    ) -> None:
        self._shape, self._shares, self._hosts, self._weight_bytes = shape, shares, hosts, weight_bytes
        sizes = {name: size for group in shape.groups for name, size in group.items()}
        buckets = cut({name: sizes[name] for name in shape.dense}, bucket_elements(cluster.bucket_mb))
        self._buckets = [shares.owned(names) for names in buckets]
        self._heads = {task: shares.owned(names) for task, names in shape.heads.items()}
        self._wire = {"fp32": _FP32, "bf16": _BF16}[cluster.wire]
        self._block = block
        self._ends = _token_bounds(shape, shares)

    def of(self, work: StepWork, terms: int = 0) -> list[Collective]:
        """Those of a step with so many regularization `terms`."""
        if self._shares.world == 1:
            return []
        reduced = self._shape.blocks * work.groups**2 + work.tasks * (2 + terms) + 4
        return [
            *self._gradients(work),
            *self._words(work),
            self._all_reduce("totals", reduced),
            *([self._all_reduce("norm", 1)] if work.groups > 1 else []),
            *self._weights(work),
        ]

    def _gradients(self, work: StepWork) -> Iterator[Collective]:
        """Buckets of the groups' gradients, the last layer's first, and the heads'."""
        for number, bucket in enumerate(self._buckets):
            yield from self._sums(f"{GRADIENTS} {number}", work.held, dict.fromkeys(range(work.groups), bucket))
        yield from self._sums("heads", work.heads, self._heads)

    def _sums(self, name: str, held: Sequence[Sequence[T]], elements: Mapping[T, Counts]) -> Iterator[Collective]:
        """What each rank has `held`, to the owners, by way of the ranks of a block. `elements`: (N,) that they have of each."""
        world, block = self._shares.world, self._block
        ranks = np.arange(world)
        sent, outside = np.zeros(world, np.int64), np.zeros(world, np.int64)
        for rank, own in enumerate(held):
            given = self._total(own, elements)
            sent[rank] = given[ranks % block != rank % block].sum()
            # With several blocks these lie within a host.
            outside[rank] = given[self._hosts != self._hosts[rank]].sum() if block == world else 0
        yield Collective(name, "all_to_all", sent * self._wire, outside * self._wire, block - 1)
        if block < world:
            yield self._between(name, held, elements)

    def _total(self, held: Iterable[T], elements: Mapping[T, Counts]) -> Counts:
        return sum((elements[own] for own in held), start=np.zeros(self._shares.world, np.int64))

    def _between(self, name: str, held: Sequence[Sequence[T]], elements: Mapping[T, Counts]) -> Collective:
        """The sums of each block, to the owners that have the rank's number in other blocks."""
        world, block = self._shares.world, self._block
        ranks = np.arange(world)
        of_block = [
            self._total({own for r in range(b, b + block) for own in held[r]}, elements) for b in range(0, world, block)
        ]
        sent, outside = np.zeros(world, np.int64), np.zeros(world, np.int64)
        for rank in range(world):
            others = (ranks % block == rank % block) & (ranks != rank)
            sent[rank] = of_block[rank // block][others].sum()
            outside[rank] = of_block[rank // block][others & (self._hosts != self._hosts[rank])].sum()
        return Collective(
            f"{name} between hosts", "all_to_all", sent * self._wire, outside * self._wire, world // block - 1
        )

    def _weights(self, work: StepWork) -> Iterator[Collective]:
        """Large parameter groups one by one, small ones together."""
        small = 0
        for number, shard in enumerate(self._shares.shards):
            if self._moves(number, work):
                part = shard * self._weight_bytes
                if part * self._shares.world > SMALL_GROUP_BYTES:
                    yield self._all_gather(f"weights {number}", part)
                else:
                    small += part
        if small:
            yield self._all_gather("weights of heads and vectors", small)

    def _moves(self, number: int, work: StepWork) -> bool:
        """Whether the step changes weights of a parameter group: of what tasks share, or of a task's own."""
        idle = set(self._shape.heads).difference(*work.heads)
        names = {name for task in idle for name in self._shape.heads[task]}
        return not names.issuperset(self._shape.groups[number])

    def _words(self, work: StepWork) -> list[Collective]:
        """Numbers, ids and rows of the words."""
        if self._shape.words is None:
            return []
        rows = np.zeros((self._shares.world, self._shares.world), np.int64)
        low, high = self._ends
        for rank, own in enumerate(work.words):
            for ids in own.values():
                rows[rank] += np.searchsorted(ids, high) - np.searchsorted(ids, low)
        groups = np.full(self._shares.world, work.groups, np.int64)
        return [
            self._all_to_all("numbers of words", lambda rank: groups, _INT64),
            self._all_to_all("words", lambda rank: rows[rank], _INT64),
            self._all_to_all("rows of words", lambda rank: rows[rank], self._shape.words.width * _FP32),
        ]

    def _all_to_all(self, name: str, given: Callable[[int], Counts], size: int) -> Collective:
        """`given(rank)`: elements (N,) of so many bytes that a rank has for each owner."""
        world = self._shares.world
        sent, outside = np.zeros(world, np.int64), np.zeros(world, np.int64)
        for rank in range(world):
            own = given(rank)
            sent[rank] = size * (own.sum() - own[rank])
            outside[rank] = size * own[self._hosts != self._hosts[rank]].sum()
        return Collective(name, "all_to_all", sent, outside, world - 1)

    def _all_reduce(self, name: str, elements: int) -> Collective:
        """Of fp64 numbers."""
        world = self._shares.world
        sent = np.full(world, 2 * (world - 1) * -(-elements // world) * _FP64, np.int64)
        return Collective(name, "all_reduce", sent, np.where(self._next_is_outside(), sent, 0), 2 * (world - 1))

    def _all_gather(self, name: str, size: int) -> Collective:
        """Of a part of so many bytes from every rank."""
        world = self._shares.world
        sent = np.full(world, (world - 1) * size, np.int64)
        return Collective(name, "all_gather", sent, np.where(self._next_is_outside(), sent, 0), world - 1)

    def _next_is_outside(self) -> np.ndarray:
        """Whether the next rank of the ring is on another host."""
        return np.roll(self._hosts, -1) != self._hosts


def _token_bounds(shape: ModelShape, shares: Shares) -> tuple[Counts, Counts]:
    """First word and the one after the last, (N,) each, of which a rank owns a part of the row."""
    if shape.words is None:
        return np.zeros(shares.world, np.int64), np.zeros(shares.world, np.int64)
    start, size = shares.fragment(shape.words.name)
    low, high = start // shape.words.width, -(-(start + size) // shape.words.width)
    return np.where(size > 0, low, 0), np.where(size > 0, high, 0)
