"""Gradient vaccine."""

import torch
from torch import Tensor

from multitask.combination.gradients.weighting import Round, Weighting, scaled


class GradVacWeights(Weighting):
    """Gradient vaccine (Wang et al. 2021, algorithm 1): a gradient whose cosine φ with another is below its running average
    φ̂ is turned towards the other until it is φ̂.

    φ̂ follows every pair at every step, whether or not it was below: φ̂ ← (1 − β) φ̂ + β φ.
    """

    def __init__(self, beta: float, groups: int) -> None:
        self.beta, self._average = beta, torch.zeros(groups, groups, dtype=torch.float64)

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        gram, size = scaled(gramian), len(gramian)
        generator = torch.Generator().manual_seed(now.key)
        coefficients = torch.eye(size, dtype=torch.float64)
        norms = gram.diagonal().clamp(min=0).sqrt()
        for i in range(size):
            order = [j for j in torch.randperm(size, generator=generator).tolist() if j != i]
            for j in order:
                own = coefficients[i]
                norm = (own @ gram @ own).clamp(min=0).sqrt()
                if norm == 0 or norms[j] == 0:
                    continue
                cosine = ((own @ gram[j]) / (norm * norms[j])).clamp(-1, 1)
                aimed = self._average[now.at[i], now.at[j]].clone()
                if cosine < aimed:
                    sine, aimed_sine = (1 - cosine**2).sqrt(), (1 - aimed**2).sqrt()
                    own[j] += norm * (aimed * sine - cosine * aimed_sine) / (norms[j] * aimed_sine)
                self._average[now.at[i], now.at[j]] = (1 - self.beta) * aimed + self.beta * cosine
        return coefficients.sum(0)

    def state_dict(self) -> dict[str, Tensor]:
        return {"average": self._average}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._average.copy_(state["average"])
