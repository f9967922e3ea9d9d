"""Weights that are known from the start: the sum, the mean, by size, by hand, in a line from one to another."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from multitask.combination.base import Combination, Plan, together
from multitask.combination.losses.combination import LossCombination
from multitask.combination.setting import Setting
from multitask.config.combination import LossWeights, Mean, Scheduled, SizeWeighted, Sum


class SumCombination(Combination):
    """The sum of the task losses: all weights 1."""

    def __init__(self, config: Sum, setting: Setting) -> None:
        pass

    def plan(self, tasks: Sequence[str], step: int) -> Plan:
        return Plan(together(tasks), torch.ones(len(tasks)))


class MeanCombination(Combination):
    """The mean of the losses of a round's tasks."""

    def __init__(self, config: Mean, setting: Setting) -> None:
        pass

    def plan(self, tasks: Sequence[str], step: int) -> Plan:
        return Plan(together(tasks), torch.full((len(tasks),), 1 / len(tasks)))


class LossWeightsCombination(LossCombination):
    """Weights by hand."""

    config: LossWeights

    def weights(self, tasks: Sequence[str], step: int) -> Tensor:
        return _of(self.config.loss_weights, tasks)


class SizeWeightedCombination(LossCombination):
    """wₖ = K · nₖ / Σ n with nₖ the training rows of task k: large tasks count more, the mean weight stays 1."""

    config: SizeWeighted

    def weights(self, tasks: Sequence[str], step: int) -> Tensor:
        rows = self.setting.train_rows
        total = sum(rows.values())
        return _of({task: len(rows) * own / total for task, own in rows.items()}, tasks)


class ScheduledCombination(LossCombination):
    """Weights in a line from the first step to the last."""

    config: Scheduled

    def weights(self, tasks: Sequence[str], step: int) -> Tensor:
        done = min(1.0, step / max(1, self.setting.steps - 1))
        return torch.lerp(_of(self.config.start, tasks), _of(self.config.end, tasks), done)


def _of(weights: Mapping[str, float], tasks: Sequence[str]) -> Tensor:
    return torch.tensor([weights[task] for task in tasks], dtype=torch.float32)
