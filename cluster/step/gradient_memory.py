"""Memory that gradients are gathered in before they are sent."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cluster.step.buckets import Bucket


class View(NamedTuple):
    """Elements `start … start + target.numel()` of a flattened gradient, and where in memory they go: (C, S), or (B, C, S)."""

    start: int
    target: Tensor

    def of(self, flat: Tensor) -> Tensor:
        """These elements of a flattened gradient, in the target's shape."""
        return flat[self.start : self.start + self.target.numel()].view_as(self.target)


class _Strided(NamedTuple):
    """Elements from `start` on of a flattened gradient, and where in memory they lie: from `address` on, with this shape and strides."""

    start: int
    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def views(pieces: Sequence[tuple[int, int, int]], memory: Tensor) -> list[View]:
    """As few strided tensors as hold the pieces (first element of the parameter, number, address in `memory`).

    Where every owner has as much of a parameter, as ZeRO 3 cuts it, one matrix holds all of them, or in blocks of ranks one
    tensor.
    """
    single = [_Strided(start, address, (size,), (1,)) for start, size, address in pieces]
    offset = memory.storage_offset()
    return [
        View(start, torch.as_strided(memory, shape, strides, offset + address))
        for start, address, shape, strides in _joined(_joined(single))
    ]


def _joined(items: Sequence[_Strided]) -> list[_Strided]:
    """Those that are alike, follow each other and lie in even distances, together."""
    runs: list[list[_Strided]] = []
    for item in items:
        if runs and _goes_on(runs[-1], item):
            runs[-1].append(item)
        else:
            runs.append([item])
    joined = []
    for run in runs:
        first, distance = run[0], run[1].address - run[0].address if len(run) > 1 else 1
        joined.append(_Strided(first.start, first.address, (len(run), *first.shape), (distance, *first.strides)))
    return joined


def _goes_on(run: Sequence[_Strided], item: _Strided) -> bool:
    last = run[-1]
    distance = item.address - last.address
    alike = (item.shape, item.strides) == (last.shape, last.strides)
    even = distance > 0 if len(run) == 1 else distance == last.address - run[-2].address
    return alike and even and item.start == last.start + math.prod(last.shape)


class GradientMemory:
    """Memory of gradients of a bucket's parameters, one for each of `bases`.

    `bases[i][owner]`: where the owner's part of gradient i begins in `memory`.
    """

    def __init__(self, bucket: Bucket, bases: Sequence[Sequence[int]], memory: Tensor) -> None:
        self._views = [
            {
                name: views([(start, size, base[owner] + at) for start, size, owner, at in pieces], memory)
                for name, pieces in bucket.pieces.items()
            }
            for base in bases
        ]
        self._written: list[set[str]] = [set() for _ in bases]

    def clear(self) -> None:
        """Forget what was added."""
        for written in self._written:
            written.clear()

    def add(self, number: int, gradients: Mapping[str, Tensor]) -> None:
        """Add to gradient `number` the gradients of some parameters, each of its parameter's shape; the first ones are copied."""
        written = self._written[number]
        for fresh, operation in ((True, torch._foreach_copy_), (False, torch._foreach_add_)):
            targets, sources = [], []
            for name, gradient in gradients.items():
                if (name not in written) == fresh:
                    flat = gradient.reshape(-1)
                    for view in self._views[number][name]:
                        targets.append(view.target)
                        sources.append(view.of(flat))
            if targets:
                operation(targets, sources)
        written.update(gradients)

    def finish(self) -> None:
        """Zero what nothing was added to."""
        missing = [
            view.target
            for views_of, written in zip(self._views, self._written, strict=True)
            for name, own in views_of.items()
            if name not in written
            for view in own
        ]
        if missing:
            torch._foreach_zero_(missing)


def owner_major(sizes: Sequence[Sequence[int]], block: int) -> list[list[int]]:
    """Where the parts of several gradients begin, by gradient and owner, in what is sent.

    All of the owners that have the same number in their blocks of `block` ranks lie one after the other, gradient after
    gradient: with all ranks in one block, all of an owner. `sizes[i][owner]`: elements of gradient i that the owner has.
    """
    world = len(sizes[0]) if sizes else 0
    bases = [[0] * world for _ in sizes]
    position = 0
    for number in range(min(block, world)):
        for own, base in zip(sizes, bases, strict=True):
            for owner in range(number, world, block):
                base[owner] = position
                position += own[owner]
    return bases


def in_place(bucket: Bucket, rows: Tensor) -> list[list[int]]:
    """`bases` of a bucket's parameters where one owner has all of them: in `rows` (G, S), its shards of the gradients."""
    start = bucket.runs[0][0][1] if bucket.runs[0] else 0
    return [[row * rows.shape[1] + start] for row in range(len(rows))]


Part = tuple[Tensor, GradientMemory]


class WholeGradients:
    """Memory of up to `most` whole gradients, bucket after bucket, which several passes add to."""

    def __init__(self, buckets: Sequence[Bucket], most: int, block: int, device: torch.device) -> None:
        self._buckets, self.most, self._block = buckets, most, block
        self._flat = torch.empty(most * sum(b.size for b in buckets), dtype=torch.float32, device=device)
        self._made: dict[int, list[Part]] = {}
        self.parts: list[Part] = []

    def start(self, number: int) -> None:
        """Be for so many gradients: `parts` has each bucket's part of the memory, and the gradients in it, of which there is nothing yet."""
        if number not in self._made:
            sizes = [number * bucket.size for bucket in self._buckets]
            self._made[number] = [
                (flat, GradientMemory(bucket, owner_major([bucket.sizes] * number, self._block), flat))
                for bucket, flat in zip(self._buckets, self._flat[: sum(sizes)].split(sizes), strict=True)
            ]
        self.parts = self._made[number]
        for _, memory in self.parts:
            memory.clear()


class SpareMemory:
    """Memory that is kept from step to step: of whole gradients, and of the two buckets that may be underway.

    `block`: ranks of a block, as `owner_major` takes it.
    """

    def __init__(self, buckets: Sequence[Bucket], block: int, device: torch.device) -> None:
        self._buckets, self._block, self._device, self._given = buckets, block, device, 0
        self._whole: list[WholeGradients] = []
        self._two: list[Tensor] = []
        self._made: dict[tuple[int, int], GradientMemory] = {}

    def whole(self, number: int) -> WholeGradients:
        """Memory of `number` whole gradients, with nothing in it."""
        fits = [memory for memory in self._whole if memory.most >= number]
        if fits:
            self._whole.remove(fits[0])
        else:
            self._whole.clear()
        memory = fits[0] if fits else WholeGradients(self._buckets, number, self._block, self._device)
        memory.start(number)
        return memory

    def give_back(self, memory: WholeGradients) -> None:
        """Nothing of it is needed any more."""
        self._whole.append(memory)

    def bucket(self, number: int) -> Part:
        """Memory of bucket `number` of one gradient, with nothing in it: that which was given the time before the last."""
        if not self._two:
            largest = max(bucket.size for bucket in self._buckets)
            self._two = [torch.empty(largest, dtype=torch.float32, device=self._device) for _ in range(2)]
        self._given += 1
        turn, bucket = self._given % 2, self._buckets[number]
        flat = self._two[turn][: bucket.size]
        if (turn, number) not in self._made:
            self._made[turn, number] = GradientMemory(bucket, owner_major([bucket.sizes], self._block), flat)
        self._made[turn, number].clear()
        return flat, self._made[turn, number]
