"""Fast adaptive multitask optimization."""

import torch
from torch import Tensor

from multitask.combination.base import Facts
from multitask.combination.learned import LearnedNumbers, numbers
from multitask.combination.losses.combination import SeenLossCombination
from multitask.combination.setting import Setting
from multitask.config.combination import FAMO

_EPSILON = 1e-8


class FAMOCombination(SeenLossCombination):
    """Σ zₖ log Lₖ / c with z = softmax(ξ) and c = Σ zₖ / Lₖ (Liu et al. 2023, algorithm 1): weights zₖ / (c Lₖ).

    ξ follows how much each log Lₖ fell since the task's last batch, through the softmax's Jacobian.
    """

    config: FAMO

    def __init__(self, config: FAMO, setting: Setting) -> None:
        super().__init__(config, setting)
        self._logits = LearnedNumbers(len(setting.tasks), config.lr, decay=config.decay)
        self._last = torch.full((len(setting.tasks),), torch.nan, dtype=torch.float64)

    def weights(self, facts: Facts) -> Tensor:
        shares = self._logits.values[numbers(self.setting.tasks, facts.tasks)].softmax(0)
        ratios = shares / (facts.losses + _EPSILON)
        return ratios / ratios.sum()

    def learn(self, facts: Facts) -> None:
        at = numbers(self.setting.tasks, facts.tasks)
        logs, before = (facts.losses + _EPSILON).log(), self._last[at]
        self._last[at] = logs
        if before.isnan().any():
            return
        shares = self._logits.values[at].softmax(0)
        fell = before - logs
        self._logits.follow(shares * (fell - (shares * fell).sum()), at)

    def state_dict(self) -> dict[str, Tensor]:
        # A checkpoint keeps it as JSON, which has no NaN.
        known = self._last.isfinite().double()
        return {**self._logits.state_dict(), "last": self._last.nan_to_num(0.0), "known": known}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._logits.load_state_dict(state)
        self._last.copy_(torch.where(state["known"] > 0, state["last"], torch.nan))
