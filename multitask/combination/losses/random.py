"""Random weights."""

from collections.abc import Sequence

import torch
from torch import Tensor

from multitask.combination.learned import numbers
from multitask.combination.losses.combination import LossCombination
from multitask.keys import generator_key


class RandomWeightsCombination(LossCombination):
    """K · softmax(z) with z standard normal, drawn under a generator keyed by seed and step (Lin et al. 2022)."""

    def weights(self, tasks: Sequence[str], step: int) -> Tensor:
        generator = torch.Generator().manual_seed(generator_key(self.setting.seed, "random weights", step))
        every = self.setting.tasks
        weights = len(every) * torch.randn(len(every), generator=generator).softmax(0)
        return weights[numbers(every, tuple(tasks))]
