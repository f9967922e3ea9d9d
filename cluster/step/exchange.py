"""Task gradients from where they were computed to where their shards are owned.

Every rank holds gradients of a few tasks, each over all shared parameters. One all-to-all sends each rank the parts
that it owns, of every task; there they are summed. So the K task gradients, averaged over all ranks, lie sharded
exactly as the optimizer wants its combined gradient, and inner products are sums over shards. What is sent per rank
does not grow with K where ranks hold few tasks each (`multitask.sampling.split_round`).
"""

from collections.abc import Mapping, Sequence

import torch.distributed as dist
from torch import Tensor

from cluster.zero.partition import Fragment, Partition


class Layout:
    """Where each parameter lies in every owner's segment of a gradient row.

    A row is the gradient of some parameters, flattened in owner-major order: first all that rank 0 owns, then rank
    1, … `places[name]`: per owner that holds a part of it, (owner, its fragment, position inside the segment).
    """

    def __init__(self, names: Sequence[str], partition: Partition) -> None:
        self.segments: list[int] = []
        self.places: dict[str, list[tuple[int, Fragment, int]]] = {name: [] for name in names}
        for owner, owned in enumerate(partition.owned):
            position = 0
            for name in names:
                if name in owned:
                    self.places[name].append((owner, owned[name], position))
                    position += owned[name].size
            self.segments.append(position)

    def pieces(self, rank: int) -> list[tuple[Fragment, int]]:
        """(fragment, position inside the segment) of every parameter that `rank` owns a part of."""
        return [(f, at) for places in self.places.values() for owner, f, at in places if owner == rank]


def buffer_size(shared: Layout, heads: Layout, rows: int) -> int:
    """Elements of a gradient buffer of `rows` rows."""
    return rows * sum(shared.segments) + sum(heads.segments)


class GradientBuffer:
    """This rank's gradient rows of one step, laid out to be sent without another copy.

    Per owner the segments of all `rows` rows lie one after the other, then the segment of the heads. `storage` (at
    least `buffer_size` elements, fp32) is kept from step to step.
    """

    def __init__(self, shared: Layout, heads: Layout, rows: int, storage: Tensor) -> None:
        self._shared = shared
        self.sizes = [rows * s + h for s, h in zip(shared.segments, heads.segments, strict=True)]
        self.flat = storage[: sum(self.sizes)]
        starts = [sum(self.sizes[:o]) for o in range(len(self.sizes))]
        self._row_views = [
            {name: self._views(places, starts, row) for name, places in shared.places.items()} for row in range(rows)
        ]
        head_starts = [start + rows * s for start, s in zip(starts, shared.segments, strict=True)]
        self._head_views = {name: self._views(places, head_starts, None) for name, places in heads.places.items()}
        self._written: set[tuple[int, str]] = set()

    def _views(
        self, places: list[tuple[int, Fragment, int]], starts: list[int], row: int | None
    ) -> list[tuple[Fragment, Tensor]]:
        views = []
        for owner, fragment, position in places:
            begin = starts[owner] + position + (row * self._shared.segments[owner] if row is not None else 0)
            views.append((fragment, self.flat[begin : begin + fragment.size]))
        return views

    def clear(self) -> None:
        """Forget the last step's gradients."""
        self._written.clear()

    def add(self, row: int, gradients: Mapping[str, Tensor | None]) -> None:
        """Add gradients of shared parameters, each of its parameter's shape, to row number `row`."""
        self._add(row, self._row_views[row], gradients)

    def add_heads(self, gradients: Mapping[str, Tensor | None]) -> None:
        """Add gradients of head parameters."""
        self._add(-1, self._head_views, gradients)

    def _add(
        self, row: int, views: Mapping[str, list[tuple[Fragment, Tensor]]], gradients: Mapping[str, Tensor | None]
    ) -> None:
        for name, gradient in gradients.items():
            if gradient is None:
                continue
            flat = gradient.reshape(-1)
            first = (row, name) not in self._written
            self._written.add((row, name))
            for fragment, view in views[name]:
                part = flat[fragment.start : fragment.start + fragment.size]
                view.copy_(part) if first else view.add_(part)

    def finish(self) -> None:
        """Zero what no gradient was added to."""
        everything = [*enumerate(self._row_views), (-1, self._head_views)]
        for row, views in everything:
            for name, parts in views.items():
                if (row, name) not in self._written:
                    for _, view in parts:
                        view.zero_()


def exchange_rows(
    buffer: GradientBuffer, shared: Layout, heads: Layout, holders: Sequence[Sequence[int]], rows: int
) -> tuple[list[Tensor], Tensor]:
    """Send every owner its segments and sum what comes for this rank's own.

    `holders[rank]`: the rows that `rank` sends, in the order of its buffer. Returns this rank's shard of each of the
    `rows` rows and of the heads' gradient. The order of summation is that of the ranks, so all runs agree.
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
    sums: list[Tensor | None] = [None] * rows
    head_sum: Tensor | None = None
    position = 0
    for held in holders:
        for row in held:
            sums[row] = _plus(sums[row], received[position : position + segment])
            position += segment
        head_sum = _plus(head_sum, received[position : position + head_segment])
        position += head_segment
    assert head_sum is not None
    return [received.new_zeros(segment) if s is None else s for s in sums], head_sum


def _plus(total: Tensor | None, part: Tensor) -> Tensor:
    return part if total is None else total.add_(part)
