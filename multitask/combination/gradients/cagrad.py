"""Conflict-averse gradient descent."""

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from multitask.combination.gradients.weighting import NoWeightsError, Round, Weighting, scaled


class CAGradWeights(Weighting):
    """Conflict-averse gradient descent (Liu et al. 2021, algorithm 1).

    With the mean gradient g₀, √φ = c · |g₀| and g_w = Σ wᵢ gᵢ: the w of the simplex that makes g_w · g₀ + √φ |g_w| least, and
    g₀ + √φ g_w / |g_w| as the update.
    """

    def __init__(self, c: float) -> None:
        self.c = c

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        gram, size = scaled(gramian).numpy(), len(gramian)
        mean = np.full(size, 1 / size)
        radius = self.c * np.sqrt(max(0.0, mean @ gram @ mean))
        if radius == 0:
            return torch.from_numpy(mean)

        def least(w: np.ndarray) -> tuple[float, np.ndarray]:
            norm = np.sqrt(max(w @ gram @ w, 1e-24))
            return float(w @ gram @ mean + radius * norm), gram @ mean + radius * (gram @ w) / norm

        found = minimize(
            least,
            mean,
            jac=True,
            method="SLSQP",
            bounds=[(0, 1)] * size,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
            options={"ftol": 1e-14, "maxiter": 200},
        )
        norm = np.sqrt(max(0.0, found.x @ gram @ found.x))
        if norm < 1e-6:
            raise NoWeightsError("the gradients cancel")
        return torch.from_numpy(mean + radius / norm * found.x)
