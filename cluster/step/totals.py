"""What a step knows over all ranks, on the host."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from multitask.combination import Factors, Facts


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


def bound(totals: Totals, factors: Factors) -> float:
    """What the norm of Σ wₖ gₖ cannot exceed, by the triangle inequality; from numbers that the host has."""
    norms = totals.gramian.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
    shared = (factors.shared.double().abs() * norms).sum(1).square().sum()
    heads = float(factors.heads.double().abs().max()) ** 2 * float(totals.head_square)
    return math.sqrt(float(shared) + heads)


def not_finite(facts: Facts) -> tuple[str, ...]:
    """The tasks whose loss or gradient is not finite; all of them where it cannot be told."""
    if torch.isfinite(facts.losses).all() and torch.isfinite(facts.gramian).all():
        return ()
    bad = ~torch.isfinite(facts.losses)
    if len(facts.groups) > 1:
        bad |= ~torch.isfinite(facts.gramian.sum(0).diagonal())[facts.group_of]
    return tuple(t for t, b in zip(facts.tasks, bad.tolist(), strict=True) if b) or facts.tasks
