"""Dynamic weight average."""

from collections.abc import Sequence

import torch
from torch import Tensor

from multitask.combination.base import Facts
from multitask.combination.learned import numbers
from multitask.combination.losses.combination import LossCombination
from multitask.combination.setting import Setting
from multitask.config.combination import DWA

_SUM, _COUNT, _LAST, _BEFORE = range(4)


class DWACombination(LossCombination):
    """wₖ = K · softmax(rₖ / T), rₖ = L̄ₖ(last window) / L̄ₖ(the window before it); 1 until there are two (Liu et al. 2019).

    A window is `window` steps of the task itself, so that a task that is drawn rarely is compared over as many of its own.
    """

    config: DWA

    def __init__(self, config: DWA, setting: Setting) -> None:
        super().__init__(config, setting)
        self._windows = torch.zeros(4, len(setting.tasks), dtype=torch.float64)

    def weights(self, tasks: Sequence[str], step: int) -> Tensor:
        own, every = self._windows, self.setting.tasks
        known = (own[_LAST] > 0) & (own[_BEFORE] > 0)
        rates = torch.where(known, own[_LAST] / own[_BEFORE].clamp(min=1e-300), 1.0)
        return len(every) * (rates / self.config.temperature).softmax(0)[numbers(every, tuple(tasks))]

    def learn(self, facts: Facts) -> None:
        for task, loss in zip(numbers(self.setting.tasks, facts.tasks), facts.losses, strict=True):
            own = self._windows[:, task]
            own[_SUM] += loss
            own[_COUNT] += 1
            if own[_COUNT] == self.config.window:
                own[_BEFORE], own[_LAST] = own[_LAST].clone(), own[_SUM] / own[_COUNT]
                own[_SUM] = own[_COUNT] = 0

    def state_dict(self) -> dict[str, Tensor]:
        return {"windows": self._windows}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._windows.copy_(state["windows"])
