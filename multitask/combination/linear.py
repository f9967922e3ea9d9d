"""Combinations that weigh losses: the sum, weights by size, weights by hand."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from multitask.combination.base import Combination
from multitask.config.combination import LossWeights as LossWeightsConfig
from multitask.config.combination import SizeWeighted as SizeWeightedConfig
from multitask.config.combination import Sum as SumConfig


class SumCombination(Combination):
    """The sum of the task losses: all weights 1."""

    def __init__(self, config: SumConfig, train_rows: Mapping[str, int], seed: int) -> None:
        pass

    def loss_weights(self, tasks: Sequence[str]) -> Tensor:
        return torch.ones(len(tasks))


class FixedWeightsCombination(Combination):
    """Σ wₖ Lₖ with weights that are known from the start."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = dict(weights)

    def loss_weights(self, tasks: Sequence[str]) -> Tensor:
        return torch.tensor([self.weights[task] for task in tasks], dtype=torch.float32)


class LossWeightsCombination(FixedWeightsCombination):
    """Loss weights by hand."""

    def __init__(self, config: LossWeightsConfig, train_rows: Mapping[str, int], seed: int) -> None:
        super().__init__(config.loss_weights)


class SizeWeightedCombination(FixedWeightsCombination):
    """wₖ = K · nₖ / Σ n with nₖ the training rows of task k: large tasks count more, the mean weight stays 1."""

    def __init__(self, config: SizeWeightedConfig, train_rows: Mapping[str, int], seed: int) -> None:
        total = sum(train_rows.values())
        super().__init__({task: len(train_rows) * rows / total for task, rows in train_rows.items()})
