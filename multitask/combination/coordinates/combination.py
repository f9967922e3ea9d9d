"""Combinations that merge task gradients coordinate by coordinate."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from multitask.combination.base import Combination, Factors, Facts, Plan, ones, together
from multitask.combination.gradients.combination import groups_of
from multitask.combination.setting import Setting
from multitask.config.combination import GradDrop, TrimmedMean
from multitask.keys import generator_key

# Elements that are merged at a time: 128 KiB in fp32, of which a core's cache holds all that is made on the way; a GPU wants more.
_CHUNK = {"cpu": 1 << 15, "cuda": 1 << 24}


class CoordinateCombination(Combination):
    """Merges G gradients of some elements of a parameter into one."""

    def __init__(self, config: GradDrop | TrimmedMean, setting: Setting) -> None:
        self.config, self._seed = config, setting.seed

    def plan(self, tasks: Sequence[str], step: int) -> Plan:
        groups = together(tasks) if step < self.config.after else groups_of(self.config, tasks)
        return Plan(groups, torch.ones(len(tasks)))

    def merge(self, name: str, places: Tensor, rows: Sequence[Tensor], step: int) -> Tensor:
        """The elements `places` (n,) int64 of the flat parameter `name`: G gradients (n,) to one (n,); of nothing but zeros, zero."""
        merged, chunk = torch.empty_like(rows[0]), _CHUNK.get(rows[0].device.type, 1 << 15)
        for start in range(0, len(merged), chunk):
            part = slice(start, start + chunk)
            merged[part] = self._merge(name, places[part], torch.stack([row[part] for row in rows]), step)
        return merged

    def _merge(self, name: str, places: Tensor, rows: Tensor, step: int) -> Tensor:
        strength = 0.0 if len(rows) == 1 else self.config.strength
        if strength == 0:
            return rows.sum(0)
        merged = self.merged(name, places, rows, step)
        return merged if strength == 1 else torch.lerp(rows.sum(0), merged, strength)

    @abstractmethod
    def merged(self, name: str, places: Tensor, rows: Tensor, step: int) -> Tensor:
        """What the method makes of gradients (G, n)."""


class GradDropCombination(CoordinateCombination):
    """Gradient sign dropout (Chen et al. 2020, algorithm 1, lines 10 to 15).

    With P = ½ (1 + Σ g / Σ |g|) and U uniform: the positive parts stay where P > U, the negative ones where P < U. U belongs to the
    coordinate, a hash of seed, step, parameter and place, so that it is the same however parameters are cut.
    """

    config: GradDrop

    def merged(self, name: str, places: Tensor, rows: Tensor, step: int) -> Tensor:
        up, down = rows.clamp(min=0).sum(0), rows.clamp(max=0).sum(0)
        drawn = uniform(generator_key(self._seed, "graddrop", step, name), places)
        # P is up / (up − down). With shares of 0 and 1 this chooses exactly, five times as fast as `torch.where` on a CPU.
        kept = torch.lerp(down, up, (drawn.mul_(up - down) <= up).float())
        return kept if self.config.leak == 0 else torch.lerp(kept, up + down, self.config.leak)


class TrimmedMeanCombination(CoordinateCombination):
    """The mean of what is left of each coordinate without its `trim` largest and smallest values (Yin et al. 2018)."""

    config: TrimmedMean

    def merged(self, name: str, places: Tensor, rows: Tensor, step: int) -> Tensor:
        if self._too_few(len(rows)):
            return rows.sum(0)
        return torch.stack(without_extremes(list(rows), self.config.trim)).mean(0)

    def factors(self, facts: Facts) -> Factors:
        return ones(facts)._replace(fell_back=self._too_few(len(facts.groups)))

    def _too_few(self, gradients: int) -> bool:
        """Whether nothing would be left, as in a round in which some of the groups are absent."""
        return 1 < gradients <= 2 * self.config.trim


def without_extremes(rows: list[Tensor], trim: int) -> list[Tensor]:
    """What is left of each place (n,) of the rows without its `trim` largest and smallest values, in some order.

    Passes of exchanges between neighbours: on a CPU many times as fast as `torch.sort` over rows.
    """
    for _ in range(trim):
        for k in range(len(rows) - 1):
            rows[k], rows[k + 1] = torch.minimum(rows[k], rows[k + 1]), torch.maximum(rows[k], rows[k + 1])
        rows = rows[:-1]
        for k in reversed(range(len(rows) - 1)):
            rows[k], rows[k + 1] = torch.minimum(rows[k], rows[k + 1]), torch.maximum(rows[k], rows[k + 1])
        rows = rows[1:]
    return rows


def uniform(key: int, places: Tensor) -> Tensor:
    """Numbers in [0, 1) for `places` (n,) int64, each the upper 24 bits of a hash of `key` and its place."""
    # As signed numbers of 32 bits these wrap around as unsigned ones do.
    bits = places.to(torch.int32).mul_(_signed(0x9E3779B9)).add_(key & 0x7FFFFFFF)
    for multiplier, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13), (0x27D4EB2F, 16)):
        bits.bitwise_xor_(_shifted(bits, shift)).mul_(_signed(multiplier))
    bits.bitwise_xor_(_shifted(bits, 16))
    return _shifted(bits, 8).float().mul_(2**-24)


def _signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number


def _shifted(bits: Tensor, shift: int) -> Tensor:
    return (bits >> shift).bitwise_and_((1 << (32 - shift)) - 1)
