"""Direction-oriented multi-objective descent."""

import torch
from torch import Tensor

from multitask.combination.gradients.weighting import Round, Weighting, preference
from multitask.config.combination import SDMGrad


class SDMGradWeights(Weighting):
    """Weights on the simplex that go on from step to step by a few descents with momentum (Xiao et al. 2023, algorithm 2).

    As in the authors' code the Gramian is scaled by the square of the mean norm, and the update is Σ (wₖ + λ pₖ) gₖ / (1 + λ). Those
    of the groups that are there start from the shares that they had, scaled to a sum of 1.
    """

    def __init__(self, config: SDMGrad, groups: int) -> None:
        self.config = config
        self._shares = torch.full((groups,), 1 / groups, dtype=torch.float64)

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        own, at = self.config, list(now.at)
        known = self._shares[at].sum()
        uniform = torch.full((len(at),), 1 / len(at), dtype=torch.float64)
        weights = self._shares[at] / known if known > 0 else uniform
        wanted = preference(own.preference, now.groups)
        wanted = uniform if wanted is None else wanted
        scaled = gramian / gramian.diagonal().clamp(min=0).sqrt().mean().square()
        velocity = torch.zeros_like(weights)
        for _ in range(own.iterations):
            velocity = own.momentum * velocity + scaled @ (weights + own.lambda_ * wanted)
            weights = on_simplex(weights - own.lr * velocity)
        self._shares[at] = weights * (known if known > 0 else 1 / len(self._shares))
        return (weights + own.lambda_ * wanted) / (1 + own.lambda_)

    def state_dict(self) -> dict[str, Tensor]:
        return {"shares": self._shares}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._shares.copy_(state["shares"])


def on_simplex(values: Tensor) -> Tensor:
    """The nearest numbers (K,) that are not negative and sum to 1 (Duchi et al. 2008)."""
    ordered = values.sort(descending=True).values
    excess = (ordered.cumsum(0) - 1) / torch.arange(1, len(values) + 1, dtype=values.dtype)
    return (values - excess[(ordered > excess).nonzero()[-1]]).clamp(min=0)
