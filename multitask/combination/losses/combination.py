"""Combinations that give each task's loss a weight."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from multitask.combination.base import Combination, Factors, Facts, Plan, apart, ones, together
from multitask.combination.setting import Setting
from multitask.config.combination import LossMethod


class LossCombination(Combination):
    """Weights that are known before the backward passes: one gradient is kept."""

    def __init__(self, config: LossMethod, setting: Setting) -> None:
        self.config, self.setting = config, setting

    @abstractmethod
    def weights(self, tasks: Sequence[str], step: int) -> Tensor:
        """Weights (K,) of the losses of `tasks`."""

    def plan(self, tasks: Sequence[str], step: int) -> Plan:
        weights = mixed(self.weights(tasks, step), self.config, step)
        return Plan(together(tasks), weights.float())


class SeenLossCombination(Combination):
    """Weights that depend on the losses of the step itself: gradients are kept apart until these are known on all ranks."""

    def __init__(self, config: LossMethod, setting: Setting) -> None:
        self.config, self.setting = config, setting

    @abstractmethod
    def weights(self, facts: Facts) -> Tensor:
        """Weights (K,) of the losses.

        Raises:
            ValueError: there are none for these losses.
        """

    def plan(self, tasks: Sequence[str], step: int) -> Plan:
        groups = together(tasks) if step < self.config.after else apart(tasks)
        return Plan(groups, torch.ones(len(tasks)))

    def factors(self, facts: Facts) -> Factors:
        if facts.step < self.config.after:
            return ones(facts)
        try:
            weights = mixed(self.weights(facts), self.config, facts.step)
        except ValueError:
            return ones(facts)._replace(fell_back=True)
        if not weights.isfinite().all():
            return ones(facts)._replace(fell_back=True)
        return Factors(weights.float().expand(len(facts.gramian), -1), weights.float())


def mixed(weights: Tensor, config: LossMethod, step: int) -> Tensor:
    """`weights` beside those of the sum, as `strength` and `after` say."""
    if step < config.after:
        return torch.ones_like(weights)
    return 1 + config.strength * (weights - 1) if config.strength != 1 else weights
