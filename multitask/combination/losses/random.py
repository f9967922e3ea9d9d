"""Random weights."""

from collections.abc import Sequence

import torch
from torch import Tensor

from multitask.combination.losses.combination import LossCombination
from multitask.keys import generator_key


class RandomWeightsCombination(LossCombination):
    """K · softmax(z) with z standard normal, drawn under a generator keyed by seed and step (Lin et al. 2022)."""

    def weights(self, tasks: Sequence[str], step: int) -> Tensor:
        generator = torch.Generator().manual_seed(generator_key(self.setting.seed, "random weights", step))
        return len(tasks) * torch.randn(len(tasks), generator=generator).softmax(0)
