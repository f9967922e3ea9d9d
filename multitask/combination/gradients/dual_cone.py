"""UPGrad and DualProj: projections on the cone in which no task gets worse."""

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor
from torchjd.aggregation import DualProjWeighting, UPGradWeighting
from torchjd.linalg import DualConeProjector, PSDMatrix

from multitask.combination.gradients.weighting import Round, Weighting, preference, scaled


class NonNegativeProjector(DualConeProjector):
    """torchjd's projection, min wᵀG w with w ≥ u, as non-negative least squares: no solver but scipy's."""

    def __call__(self, U: Tensor, G: PSDMatrix) -> Tensor:  # noqa: N803 torchjd's names
        values, vectors = torch.linalg.eigh(G)
        root = (vectors * values.clamp(min=0).sqrt()).T.numpy()
        found = np.apply_along_axis(lambda u: u + nnls(root, -root @ u)[0], -1, U.numpy())
        return torch.as_tensor(found, dtype=G.dtype)


class UPGradWeights(Weighting):
    """Each preferred gradient projected, then added up (Quinton and Rey 2024)."""

    def __init__(self, given: dict[str, float] | None) -> None:
        self.given = given

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        return UPGradWeighting(_wanted(self.given, now), NonNegativeProjector())(scaled(gramian))


class DualProjWeights(Weighting):
    """The preferred combination projected (Lopez-Paz and Ranzato 2017)."""

    def __init__(self, given: dict[str, float] | None) -> None:
        self.given = given

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        return DualProjWeighting(_wanted(self.given, now), NonNegativeProjector())(scaled(gramian))


def _wanted(given: dict[str, float] | None, now: Round) -> Tensor:
    own = preference(given, now.groups)
    return torch.full((len(now.groups),), 1 / len(now.groups), dtype=torch.float64) if own is None else own
