"""Weights by learned uncertainty."""

from collections.abc import Sequence

from torch import Tensor

from multitask.combination.base import Facts
from multitask.combination.learned import LearnedNumbers, numbers
from multitask.combination.losses.combination import LossCombination
from multitask.combination.setting import Setting
from multitask.config.combination import Uncertainty


class UncertaintyCombination(LossCombination):
    """½ Σ exp(−sₖ) Lₖ + sₖ (Kendall et al. 2018): the weight of task k is ½ exp(−sₖ).

    The gradient of sₖ is ½ (1 − exp(−sₖ) Lₖ). A task that is not in a round keeps its sₖ.
    """

    config: Uncertainty

    def __init__(self, config: Uncertainty, setting: Setting) -> None:
        super().__init__(config, setting)
        self._log_variances = LearnedNumbers(len(setting.tasks), config.lr)

    def weights(self, tasks: Sequence[str], step: int) -> Tensor:
        return 0.5 * (-self._log_variances.values[numbers(self.setting.tasks, tuple(tasks))]).exp()

    def learn(self, facts: Facts) -> None:
        at = numbers(self.setting.tasks, facts.tasks)
        self._log_variances.follow(0.5 * (1 - (-self._log_variances.values[at]).exp() * facts.losses), at)

    def state_dict(self) -> dict[str, Tensor]:
        return self._log_variances.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._log_variances.load_state_dict(state)
