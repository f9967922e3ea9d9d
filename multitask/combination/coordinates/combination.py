"""Combinations that merge task gradients coordinate by coordinate."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from multitask.combination.base import Combination, Plan, together
from multitask.combination.gradients.combination import groups_of
from multitask.combination.setting import Setting
from multitask.config.combination import GradDrop, TrimmedMean
from multitask.keys import generator_key


class CoordinateCombination(Combination):
    """Merges G gradients of a part of a parameter into one."""

    coordinatewise: ClassVar[bool] = True

    def __init__(self, config: GradDrop | TrimmedMean, setting: Setting) -> None:
        self.config, self._seed = config, setting.seed

    def plan(self, tasks: Sequence[str], step: int) -> Plan:
        groups = together(tasks) if step < self.config.after else groups_of(self.config, tasks)
        return Plan(groups, torch.ones(len(tasks)))

    def merge(self, name: str, start: int, rows: Tensor, step: int) -> Tensor:
        """Elements `start` … of the flat parameter `name`: gradients (G, n) to one (n,)."""
        total = rows.sum(0)
        if len(rows) == 1 or self.config.strength == 0:
            return total
        merged = self.merged(name, start, rows, step)
        return merged if self.config.strength == 1 else torch.lerp(total, merged, self.config.strength)

    @abstractmethod
    def merged(self, name: str, start: int, rows: Tensor, step: int) -> Tensor:
        """What the method makes of them."""


class GradDropCombination(CoordinateCombination):
    """Gradient sign dropout (Chen et al. 2020, algorithm 1, lines 10 to 15).

    With P = ½ (1 + Σ g / Σ |g|) and U uniform: the positive parts stay where P > U, the negative ones where P < U. U belongs to the
    coordinate, a hash of seed, step, parameter and place, so that it is the same however parameters are cut.
    """

    config: GradDrop

    def merged(self, name: str, start: int, rows: Tensor, step: int) -> Tensor:
        sums = rows.abs().sum(0)
        positive = 0.5 * (1 + torch.where(sums > 0, rows.sum(0) / sums, 0.0))
        drawn = uniform(generator_key(self._seed, "graddrop", step, name), start, rows.shape[1], rows.device)
        kept = torch.where(positive > drawn, rows.clamp(min=0), 0.0) + torch.where(
            positive < drawn, rows.clamp(max=0), 0.0
        )
        return (self.config.leak * rows + (1 - self.config.leak) * kept).sum(0)


class TrimmedMeanCombination(CoordinateCombination):
    """The mean of what is left of each coordinate without its `trim` largest and smallest values (Yin et al. 2018)."""

    config: TrimmedMean

    def merged(self, name: str, start: int, rows: Tensor, step: int) -> Tensor:
        trim = self.config.trim
        return rows.sort(0).values[trim : len(rows) - trim].mean(0)


def uniform(key: int, start: int, size: int, device: torch.device) -> Tensor:
    """Numbers in 0 … 1 for the places `start` … `start + size`, each a hash of `key` and its place."""
    places = torch.arange(start, start + size, dtype=torch.int64, device=device)
    bits = (places * 0x9E3779B9 + (key & 0x7FFFFFFF)) & 0xFFFFFFFF
    for multiplier, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13), (0x27D4EB2F, 16)):
        bits = ((bits ^ (bits >> shift)) * multiplier) & 0xFFFFFFFF
    bits = bits ^ (bits >> 16)
    return bits.double().div_(2**32).float()
