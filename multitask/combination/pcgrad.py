"""Gradient surgery."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchjd.aggregation import PCGradWeighting

from multitask.combination.base import Combination
from multitask.config.combination import PCGrad as PCGradConfig
from multitask.keys import generator_key


class PCGradCombination(Combination):
    """Projecting conflicting gradients (Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", algorithm 1).

    Each gᵢ loses, for the other tasks j in random order, its component along gⱼ where gᵢ · gⱼ < 0; the results are
    summed. The order is drawn under a generator keyed by (seed, step), so that all ranks and a resumed run draw the
    same. For two tasks the order does not matter. Tasks of one group count as one task with the sum of their losses.
    """

    def __init__(self, config: PCGradConfig, train_rows: Mapping[str, int], seed: int) -> None:
        self.seed, self._groups = seed, config.groups
        self.weighting = PCGradWeighting()

    def loss_weights(self, tasks: Sequence[str]) -> Tensor:
        return torch.ones(len(tasks))

    def groups(self, tasks: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        if self._groups is None:
            return tuple((task,) for task in tasks)
        present = (tuple(task for task in tasks if task in group) for group in self._groups)
        return tuple(group for group in present if group)

    def gradient_weights(self, gramian: Tensor, groups: Sequence[Sequence[str]], step: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator_key(self.seed, "pcgrad", step))
            return self.weighting(gramian)
