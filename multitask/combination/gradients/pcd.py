"""Priority-constrained descent."""

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from multitask.combination.gradients.weighting import NoWeightsError, Round, Weighting
from multitask.config.combination import PCD

_EPSILON, _TOLERANCE = 1e-8, 1e-9


class PCDWeights(Weighting):
    """Priority-constrained descent (TMLR 2026): min |d − g̃₁|² with g̃ⱼ · d ≥ τ |g̃ⱼ|² for every other task j.

    g̃ᵢ = gᵢ / √(v̂ᵢ + ε), v̂ᵢ the running average of |gᵢ|² over the task's own steps, without the bias of its start. The update is d,
    scaled to the length of g₁. Where no d meets the conditions it is g₁, where g₁ is zero it is zero.
    """

    def __init__(self, config: PCD, groups: int) -> None:
        self.config = config
        self._squares, self._steps = torch.zeros(2, groups, dtype=torch.float64)

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        first = next((n for n, group in enumerate(now.groups) if self.config.primary in group), None)
        if first is None:
            raise NoWeightsError(f"{self.config.primary} is not in this step")
        scales = self._scales(gramian.diagonal(), list(now.at))
        gram = gramian * torch.outer(scales, scales)
        others = [n for n in range(len(gram)) if n != first]
        weights = torch.zeros(len(gram), dtype=torch.float64)
        weights[first] = 1
        weights[others] = torch.from_numpy(_multipliers(gram.numpy(), first, others, self.config.tau))
        square = weights @ gram @ weights
        if square <= _TOLERANCE * (weights * gram.diagonal().clamp(min=0).sqrt()).sum().square():
            return torch.zeros_like(weights)
        return weights * scales * (gramian[first, first] / square).sqrt()

    def _scales(self, squares: Tensor, at: list[int]) -> Tensor:
        beta = self.config.beta
        self._steps[at] += 1
        self._squares[at] = beta * self._squares[at] + (1 - beta) * squares
        average = self._squares[at] / (1 - beta ** self._steps[at])
        return (average + _EPSILON).rsqrt()

    def state_dict(self) -> dict[str, Tensor]:
        return {"squares": self._squares, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._squares.copy_(state["squares"])
        self._steps.copy_(state["steps"])


def _multipliers(gram: np.ndarray, first: int, others: list[int], tau: float) -> np.ndarray:
    """μ ≥ 0 (G − 1,) with d = g̃₁ + Σ μⱼ g̃ⱼ, as a least distance (Lawson and Hanson 1974, chapter 23); 0 where there is no d."""
    if not others:
        return np.zeros(0)
    among = gram[np.ix_(others, others)]
    missing = tau * among.diagonal() - gram[others, first]
    unit = max(float(gram.diagonal().max()), np.finfo(np.float64).tiny)
    values, vectors = np.linalg.eigh(among / unit)
    root = (vectors * np.sqrt(values.clip(min=0))).T
    missing = missing / unit
    found, _ = nnls(np.vstack([root, missing]), np.append(np.zeros(len(root)), 1.0))
    left = 1 - missing @ found
    return found / left if left > _TOLERANCE else np.zeros_like(found)
