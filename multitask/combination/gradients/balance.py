"""ConFIG and normalised gradients."""

import torch
from torch import Tensor

from multitask.combination.gradients.weighting import NoWeightsError, Round, Weighting, preference, scaled


class ConFIGWeights(Weighting):
    """Conflict-free direction (Liu et al. 2025, equation 2), from inner products alone.

    With unit gradients U and their cosines C = U Uᵀ the direction is v = Uᵀ C⁺ p, and the update (Σ gᵢ · v) v / |v|²: for
    C of full rank v has the cosine pᵢ / |v| to each gradient.
    """

    def __init__(self, given: dict[str, float] | None) -> None:
        self.given = given

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        gram = scaled(gramian)
        norms = gram.diagonal().clamp(min=0).sqrt()
        inverse = torch.where(norms > 0, 1 / norms, 0.0)
        cosines = gram * torch.outer(inverse, inverse)
        wanted = preference(self.given, now.groups)
        wanted = torch.ones_like(norms) if wanted is None else wanted
        direction = inverse * (torch.linalg.pinv(cosines, hermitian=True, rtol=1e-10) @ wanted)
        square = direction @ gram @ direction
        if square <= 1e-12:
            raise NoWeightsError("no direction agrees with every gradient")
        return (gram @ direction).sum() / square * direction


class NormalizedWeights(Weighting):
    """Every gradient as long as the mean of their norms."""

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        norms = gramian.diagonal().clamp(min=0).sqrt()
        return torch.where(norms > 0, norms.mean() / norms, 1.0)
