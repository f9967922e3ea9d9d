"""The geometric mean and the smooth Tchebycheff scalarization: what is torchjd's, differentiated."""

import torch
from torch import Tensor
from torchjd import scalarization

from multitask.combination.base import Facts
from multitask.combination.losses.combination import SeenLossCombination
from multitask.config.combination import STCH, GeometricMean


class GeometricMeanCombination(SeenLossCombination):
    """K · (Π Lₖ)^(1/K) (Chennupati et al. 2019)."""

    config: GeometricMean

    def weights(self, facts: Facts) -> Tensor:
        return len(facts.tasks) * _derivative(scalarization.GeometricMean(), facts.losses)


class STCHCombination(SeenLossCombination):
    """μ · log Σ exp(pₖ Lₖ / μ) (Lin et al. 2024)."""

    config: STCH

    def weights(self, facts: Facts) -> Tensor:
        own, tasks = self.config.preference, facts.tasks
        preference = torch.tensor([own[task] if own else 1 / len(tasks) for task in tasks], dtype=torch.float64)
        return _derivative(scalarization.STCH(self.config.mu, preference), facts.losses)


def _derivative(scalarizer: scalarization.Scalarizer, losses: Tensor) -> Tensor:
    losses = losses.detach().clone().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(scalarizer(losses), losses)[0]
