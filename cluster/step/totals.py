"""What a step knows over all ranks: first on the device, then on the host."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from cluster.step.task_gradients import LocalSums
from multitask.combination import Factors, Facts, Plan
from multitask.device import to_device
from multitask.sampling import Round


class Totals(NamedTuple):
    """`LocalSums` and Gramian (B, G, G) over all ranks; `layers` (L, G, G): of each layer, where they are looked at, else L is 0.

    `head_square`: of the norm of the heads' gradient; `heads` (K,): by task.
    """

    gramian: Tensor
    layers: Tensor
    losses: Tensor
    terms: Tensor
    head_square: Tensor
    heads: Tensor
    tokens: int
    slots: int
    extra_tokens: int


class DeviceTotals(NamedTuple):
    """`Totals` that the host has not read: `packed` (N,) fp64 has parts of these `shapes` one after the other.

    The first `blocks` of its Gramians are those of the combination's blocks.
    """

    packed: Tensor
    shapes: tuple[torch.Size, ...]
    blocks: int

    def norm(self) -> Tensor:
        """Norm of the one gradient that is kept, with the heads', as the host works it out; fp64, no dimension."""
        inner, *_, square, _, _ = self._parts(self.packed)
        return (inner[: self.blocks].sum().float().double() + square.float().double()[0]).sqrt()

    def on_host(self, packed: Tensor) -> Totals:
        """The totals, `packed` being read."""
        inner, losses, terms, square, heads, counts = self._parts(packed)
        tokens, slots, extra_tokens = (int(count) for count in counts)
        return Totals(
            gramian=inner[: self.blocks],
            layers=inner[self.blocks :],
            losses=losses,
            terms=terms,
            head_square=square.float()[0],
            heads=heads,
            tokens=tokens,
            slots=slots,
            extra_tokens=extra_tokens,
        )

    def _parts(self, packed: Tensor) -> list[Tensor]:
        found = packed.split([shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(found, self.shapes, strict=True)]


def over_all_ranks(
    inner: Tensor, blocks: int, sums: LocalSums, head: Tensor, own_heads: Sequence[tuple[int, int, int]]
) -> DeviceTotals:
    """Sum over ranks in one go: Gramian, losses, regularization, squares of the heads' norms, and tokens.

    `inner`: Gramians (B or B + L, G, G) of this rank's shards, those of the `blocks` first; `own_heads`: as `StepLayout.own_heads`.
    """
    numbers = torch.tensor([sums.tokens, sums.slots, sums.extra_tokens], dtype=torch.float64)
    square = head.double().square().sum().reshape(1)
    heads = torch.zeros(len(sums.losses), dtype=torch.float64, device=head.device)
    for k, at, size in own_heads:
        heads[k] += head[at : at + size].double().square().sum()
    parts = [inner.double(), sums.losses, sums.terms, square, heads, to_device(numbers, head.device)]
    packed = torch.cat([part.reshape(-1) for part in parts])
    if dist.get_world_size() > 1:
        dist.all_reduce(packed)
    return DeviceTotals(packed, tuple(part.shape for part in parts), blocks)


def bound(totals: Totals, factors: Factors) -> float:
    """What the norm of Σ wₖ gₖ cannot exceed, by the triangle inequality; from numbers that the host has."""
    norms = totals.gramian.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
    shared = (factors.shared.double().abs() * norms).sum(1).square().sum()
    heads = float(factors.heads.double().abs().max()) ** 2 * float(totals.head_square)
    return math.sqrt(float(shared) + heads)


def facts_of(round: Round, plan: Plan, totals: Totals) -> Facts:
    """What the combination is told of a round."""
    return Facts(round.step, tuple(round.tasks), plan.groups, totals.losses, totals.gramian, totals.heads)


def not_finite(facts: Facts) -> tuple[str, ...]:
    """The tasks whose loss or gradient is not finite; all of them where it cannot be told."""
    bad = ~(torch.isfinite(facts.losses) & torch.isfinite(facts.heads))
    if not bad.any() and torch.isfinite(facts.gramian).all():
        return ()
    if len(facts.groups) > 1:
        bad |= ~torch.isfinite(facts.gramian.sum(0).diagonal())[facts.group_of]
    return tuple(t for t, b in zip(facts.tasks, bad.tolist(), strict=True) if b) or facts.tasks
