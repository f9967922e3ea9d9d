"""Krum."""

import torch
from torch import Tensor

from multitask.combination.gradients.weighting import NoWeightsError, Round, Weighting, scaled
from multitask.config.combination import Krum


class KrumWeights(Weighting):
    """Multi-Krum (Blanchard et al. 2017, section 4): the mean of the `selected` gradients with the lowest scores.

    Of G gradients, `outliers` of them not to be trusted, the score of gᵢ is Σ |gᵢ − gⱼ|² over the G − outliers − 2 others that are
    nearest to it. Of equal scores, as two gradients have that are each other's only neighbour, that of the task named first counts.
    """

    def __init__(self, config: Krum) -> None:
        self.config = config

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        gram, size = scaled(gramian), len(gramian)
        neighbours, selected = size - self.config.outliers - 2, self.config.selected
        if neighbours < 1 or selected > size:
            raise NoWeightsError("too few gradients")
        squares = gram.diagonal()
        distances = squares[:, None] + squares[None, :] - gram - gram.T
        distances.fill_diagonal_(torch.inf)
        scores = distances.sort(1).values[:, :neighbours].sum(1).tolist()
        chosen = sorted(range(size), key=lambda i: (scores[i], now.at[i]))[:selected]
        weights = torch.zeros(size, dtype=torch.float64)
        weights[chosen] = 1 / selected
        return weights
