"""Task gradients from where they were computed to where their shards are owned.

Every rank holds gradients of a few task groups, each over all shared parameters. One all-to-all sends each rank the parts
that it owns, of every group; there they are summed. So the group gradients, averaged over all ranks, lie sharded exactly as
the optimizer wants its combined gradient, and inner products are sums over shards.

Under ZeRO 1 and 2 a rank holds few groups (`multitask.sampling.split_round`), and what it sends does not grow with their
number G. Under ZeRO 3 every rank holds a part of every task, and sends G times the shared parameters.
"""

from collections.abc import Mapping, Sequence

import torch.distributed as dist
from torch import Tensor

from cluster.step.layout import Layout, Place
from cluster.zero.partition import Fragment


def buffer_size(shared: Layout, heads: Layout, groups: int) -> int:
    """Elements of a buffer of `groups` group gradients."""
    return groups * sum(shared.segments) + sum(heads.segments)


class GradientBuffer:
    """This rank's group gradients of one step, laid out to be sent without another copy.

    Per owner the segments of all `groups` gradients lie one after the other, then the segment of the heads. `storage` (at
    least `buffer_size` elements, fp32) is kept from step to step.
    """

    def __init__(self, shared: Layout, heads: Layout, groups: int, storage: Tensor) -> None:
        self._shared = shared
        self.sizes = [groups * s + h for s, h in zip(shared.segments, heads.segments, strict=True)]
        self.flat = storage[: sum(self.sizes)]
        starts = [sum(self.sizes[:o]) for o in range(len(self.sizes))]
        self._group_views = [
            {name: self._views(places, starts, group) for name, places in shared.places.items()}
            for group in range(groups)
        ]
        head_starts = [start + groups * s for start, s in zip(starts, shared.segments, strict=True)]
        self._head_views = {name: self._views(places, head_starts, None) for name, places in heads.places.items()}
        self._written: set[tuple[int, str]] = set()

    def _views(self, places: Sequence[Place], starts: list[int], group: int | None) -> list[tuple[Fragment, Tensor]]:
        views = []
        for owner, fragment, position in places:
            begin = starts[owner] + position + (group * self._shared.segments[owner] if group is not None else 0)
            views.append((fragment, self.flat[begin : begin + fragment.size]))
        return views

    def clear(self) -> None:
        """Forget the last step's gradients."""
        self._written.clear()

    def add(self, group: int, gradients: Mapping[str, Tensor | None]) -> None:
        """Add gradients of shared parameters, each of its parameter's shape, to gradient number `group`."""
        self._add(group, self._group_views[group], gradients)

    def add_heads(self, gradients: Mapping[str, Tensor | None]) -> None:
        """Add gradients of head parameters."""
        self._add(-1, self._head_views, gradients)

    def _add(
        self, group: int, views: Mapping[str, list[tuple[Fragment, Tensor]]], gradients: Mapping[str, Tensor | None]
    ) -> None:
        for name, gradient in gradients.items():
            if gradient is None:
                continue
            flat = gradient.reshape(-1)
            first = (group, name) not in self._written
            self._written.add((group, name))
            for fragment, view in views[name]:
                part = flat[fragment.start : fragment.start + fragment.size]
                view.copy_(part) if first else view.add_(part)

    def finish(self) -> None:
        """Zero what no gradient was added to."""
        everything = [*enumerate(self._group_views), (-1, self._head_views)]
        for group, views in everything:
            for name, parts in views.items():
                if (group, name) not in self._written:
                    for _, view in parts:
                        view.zero_()


def exchange_gradients(
    buffer: GradientBuffer, shared: Layout, heads: Layout, holders: Sequence[Sequence[int]], groups: int
) -> tuple[list[Tensor], Tensor]:
    """Send every owner its segments and sum what comes for this rank's own.

    `holders[rank]`: the groups whose gradients `rank` sends, in the order of its buffer. Returns this rank's shard of each of
    the `groups` gradients and of the heads' gradient. The order of summation is that of the ranks, so all runs agree.
    """
    buffer.finish()
    rank, world = dist.get_rank(), dist.get_world_size()
    segment, head_segment = shared.segments[rank], heads.segments[rank]
    if world == 1:
        received = buffer.flat
    else:
        sizes = [len(held) * segment + head_segment for held in holders]
        received = buffer.flat.new_empty(sum(sizes))
        dist.all_to_all_single(received, buffer.flat, sizes, buffer.sizes)
    sums: list[Tensor | None] = [None] * groups
    head_sum: Tensor | None = None
    position = 0
    for held in holders:
        for group in held:
            sums[group] = _plus(sums[group], received[position : position + segment])
            position += segment
        head_sum = _plus(head_sum, received[position : position + head_segment])
        position += head_segment
    assert head_sum is not None
    return [received.new_zeros(segment) if s is None else s for s in sums], head_sum


def _plus(total: Tensor | None, part: Tensor) -> Tensor:
    return part if total is None else total.add_(part)
