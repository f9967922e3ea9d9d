"""Gradient normalisation by learned loss weights."""

import torch
from torch import Tensor

from multitask.combination.gradients.weighting import Round, Weighting
from multitask.combination.learned import LearnedNumbers
from multitask.config.combination import GradNorm


class GradNormWeights(Weighting):
    """Loss weights wₖ > 0, of mean 1, that follow Σ | wₖ |gₖ| − mean(w |g|) · rₖ^α | (Chen et al. 2018, algorithm 1).

    rₖ is a group's loss over its first one, divided by the mean of these ratios; the target is held constant. The weights that
    a step uses are those before its own update.
    """

    weighs_heads = True

    def __init__(self, config: GradNorm, groups: int) -> None:
        self.alpha = config.alpha
        self._weights = LearnedNumbers(groups, config.lr, start=1.0)
        self._first = torch.zeros(groups, dtype=torch.float64)

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        at, norms = list(now.at), gramian.diagonal().clamp(min=0).sqrt()
        first = self._first[at]
        self._first[at] = first = torch.where(first > 0, first, now.losses)
        used = self._weights.values[at].clone()
        ratios = now.losses / first
        target = (used * norms).mean() * (ratios / ratios.mean()) ** self.alpha
        # The common scale of the norms means nothing to the weights; Adam's ε shall not see it.
        self._weights.follow(torch.sign(used * norms - target) * norms / norms.mean(), at)
        changed = self._weights.values[at].clamp(min=1e-3)
        self._weights.values[at] = changed * used.sum() / changed.sum()
        return used

    def state_dict(self) -> dict[str, Tensor]:
        return self._weights.state_dict() | {"first_losses": self._first}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._weights.load_state_dict(state)
        self._first.copy_(state["first_losses"])
