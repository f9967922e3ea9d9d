"""Gradient surgery."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchjd.aggregation import PCGradWeighting

from multitask.combination.base import Combination, GroupWeights
from multitask.config.combination import PCGrad as PCGradConfig
from multitask.keys import generator_key


class PCGradCombination(Combination):
    """Projecting conflicting gradients (Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", algorithm 1).

    Each gᵢ loses, for the other tasks j in random order, its component along gⱼ where gᵢ · gⱼ < 0; the results are
    summed. The order is drawn under a generator keyed by (seed, step), so that all ranks and a resumed run draw the
    same. For two tasks the order does not matter. Tasks of one group count as one task with the sum of their losses.

    With the scope `all`, gᵢ is the gradient of all parameters. Heads belong to one group each, so the Gramian differs in
    its diagonal alone, and each head gets the weight of its group. With the reduction `mean` the sum over what is shared is
    divided by the number of groups, what only some of them have is not (W.-C. Tseng, Pytorch-PCGrad, `has_grad`). The ports
    also project gᵢ away from itself, which the paper does not: it matters only where the other projections have turned gᵢ by
    more than 90°.
    """

    def __init__(self, config: PCGradConfig, train_rows: Mapping[str, int], seed: int) -> None:
        self.seed, self._groups = seed, config.groups
        self.takes_heads, self._averages = config.scope == "all", config.reduction == "mean"
        self.weighting = PCGradWeighting()

    def loss_weights(self, tasks: Sequence[str]) -> Tensor:
        return torch.ones(len(tasks))

    def groups(self, tasks: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        if self._groups is None:
            return tuple((task,) for task in tasks)
        present = (tuple(task for task in tasks if task in group) for group in self._groups)
        return tuple(group for group in present if group)

    def gradient_weights(self, gramian: Tensor, groups: Sequence[Sequence[str]], step: int) -> GroupWeights:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator_key(self.seed, "pcgrad", step))
            weights = self.weighting(gramian)
        shared = weights / len(groups) if self._averages else weights
        return GroupWeights(shared, weights if self.takes_heads else torch.ones_like(weights))
