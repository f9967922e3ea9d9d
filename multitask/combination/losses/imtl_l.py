"""Impartial weights of losses."""

from collections.abc import Sequence

from torch import Tensor

from multitask.combination.base import Facts
from multitask.combination.learned import LearnedNumbers, numbers
from multitask.combination.losses.combination import LossCombination
from multitask.combination.setting import Setting
from multitask.config.combination import IMTLLosses


class IMTLLossesCombination(LossCombination):
    """Σ exp(sₖ) Lₖ − sₖ (Liu et al. 2021, IMTL-L): the weight of task k is exp(sₖ), and the gradient of sₖ exp(sₖ) Lₖ − 1."""

    config: IMTLLosses

    def __init__(self, config: IMTLLosses, setting: Setting) -> None:
        super().__init__(config, setting)
        self._scales = LearnedNumbers(len(setting.tasks), config.lr)

    def weights(self, tasks: Sequence[str], step: int) -> Tensor:
        return self._scales.values[numbers(self.setting.tasks, tuple(tasks))].exp()

    def learn(self, facts: Facts) -> None:
        at = numbers(self.setting.tasks, facts.tasks)
        self._scales.follow(self._scales.values[at].exp() * facts.losses - 1, at)

    def state_dict(self) -> dict[str, Tensor]:
        return self._scales.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._scales.load_state_dict(state)
