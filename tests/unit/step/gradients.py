"""Gradients of parameters for tests of their exchange: made, cut between owners, and summed by hand."""

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cluster.step.layout import Layout
from cluster.zero.partition import Fragment, Partition

Gradients = dict[str, Tensor]


def flat_partition(shapes: Mapping[str, tuple[int, ...]], cuts: Sequence[int]) -> Partition:
    """The flat concatenation of the parameters, cut at `cuts`: what ZeRO 1 does."""
    owned: list[dict[str, Fragment]] = []
    for low, high in itertools.pairwise(cuts):
        mine, position = {}, 0
        for name, shape in shapes.items():
            size = torch.Size(shape).numel()
            start, end = max(low, position), min(high, position + size)
            if start < end:
                mine[name] = Fragment(start - position, end - start, 0, start - low)
            position += size
        owned.append(mine)
    return Partition(tuple(owned), (), ())


def even_partition(shapes: Mapping[str, tuple[int, ...]], world: int) -> Partition:
    """Every parameter cut by itself: what ZeRO 3 does."""
    owned: list[dict[str, Fragment]] = [{} for _ in range(world)]
    for name, shape in shapes.items():
        size = torch.Size(shape).numel()
        part = -(-size // world)
        for rank in range(world):
            if (own := min(part, size - rank * part)) > 0:
                owned[rank][name] = Fragment(rank * part, own, 0, 0)
    return Partition(tuple(owned), (), ())


def random_gradients(shapes: Mapping[str, tuple[int, ...]], seed: int) -> Gradients:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def sum_in_order(parts: Sequence[Gradients], shapes: Mapping[str, tuple[int, ...]]) -> Gradients:
    """One after the other: rounding depends on the order."""
    total = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for part in parts:
        total = {name: before + part[name] if name in part else before for name, before in total.items()}
    return total


def sum_in_pairs(parts: Sequence[Gradients | None], shapes: Mapping[str, tuple[int, ...]]) -> Gradients:
    """The sum of the largest first part that has a power of two of them, and that of the rest; None adds nothing."""
    if len(parts) <= 1:
        return sum_in_order([part for part in parts if part], shapes)
    half = 1 << (len(parts) - 1).bit_length() - 1
    return sum_in_order([sum_in_pairs(parts[:half], shapes), sum_in_pairs(parts[half:], shapes)], shapes)


def check_shard(layout: Layout, rank: int, shard: Tensor, wanted: Gradients) -> None:
    assert len(shard) == layout.segments[rank]
    for name, places in layout.places.items():
        for owner, fragment, at in places:
            if owner == rank:
                part = wanted[name].flatten()[fragment.start : fragment.start + fragment.size]
                assert torch.equal(shard[at : at + fragment.size], part), name
