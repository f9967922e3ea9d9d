"""Nash-MTL and FairGrad: weights w with G w = w^(−1/α)."""

import torch
from torch import Tensor

from multitask.combination.gradients.weighting import NoWeightsError, Round, Weighting, scaled

_TOLERANCE, _STEPS = 1e-10, 100


class NashWeights(Weighting):
    """Nash's bargaining solution (Navon et al. 2022): G w = 1/w for G over its Frobenius norm, the update at most `max_norm` long."""

    def __init__(self, max_norm: float | None) -> None:
        self.max_norm = max_norm

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        weights = _balance(gramian / torch.linalg.norm(gramian), 1.0)
        length = (weights @ gramian @ weights).sqrt()
        return weights if self.max_norm is None else weights * (self.max_norm / length).clamp(max=1)


class FairGradWeights(Weighting):
    """α-fair allocation (Ban and Ji 2024, equation 4)."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        # Gs w = w^(−1/α) for G = s Gs is solved by w / s^(α / (1 + α)).
        scale = gramian.diagonal().mean()
        return _balance(scaled(gramian), 1 / self.alpha) * scale ** (-self.alpha / (1 + self.alpha))


def _balance(gram: Tensor, power: float) -> Tensor:
    """The w > 0 with G w = w^(−power), where ½ wᵀG w − Σ ∫ w^(−power) is least: Newton's method with backtracking.

    Raises:
        NoWeightsError: there is none, as where gradients cancel or one is zero.
    """
    if not gram.diagonal().all():
        raise NoWeightsError("a gradient is zero")
    w = gram.diagonal() ** (-1 / (1 + power))
    for _ in range(_STEPS):
        residual = gram @ w - w**-power
        if (residual.abs() * w**power).max() < _TOLERANCE:
            return w
        hessian = gram + torch.diag(power * w ** (-power - 1))
        move = -torch.linalg.solve(hessian, residual)
        shrinks = torch.where(move < 0, -0.9 * w / move, torch.inf)
        length = min(1.0, float(shrinks.min()))
        # So near the end heights differ by rounding alone, and a whole step is right.
        if (slope := residual @ move) < -1e-8:
            height = _height(gram, w, power)
            while _height(gram, w + length * move, power) > height + 1e-4 * length * slope and length > 1e-9:
                length /= 2
        w = w + length * move
    raise NoWeightsError("no weights balance the gradients")


def _height(gram: Tensor, w: Tensor, power: float) -> Tensor:
    gain = w.log() if power == 1 else w ** (1 - power) / (1 - power)
    return 0.5 * w @ gram @ w - gain.sum()
