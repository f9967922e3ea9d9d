"""Weights that torchjd works out without memory: MGDA, Aligned-MTL, IMTL-G."""

from torch import Tensor
from torchjd.aggregation import AlignedMTLWeighting, IMTLGWeighting, MGDAWeighting

from multitask.combination.gradients.weighting import Round, Weighting, preference, scaled
from multitask.config.combination import AlignedMTL


class MGDAWeights(Weighting):
    """Multiple-gradient descent (Désidéri 2012) by Frank and Wolfe's method (Sener and Koltun 2018, algorithm 2)."""

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        return MGDAWeighting(epsilon=1e-6, max_iters=250)(scaled(gramian))


class AlignedMTLWeights(Weighting):
    """Independent component alignment (Senushkin et al. 2023, algorithm 1)."""

    def __init__(self, config: AlignedMTL) -> None:
        self.config = config

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        return AlignedMTLWeighting(preference(self.config.preference, now.groups), self.config.scale)(scaled(gramian))


class IMTLGradientsWeights(Weighting):
    """Impartial gradients (Liu et al. 2021, IMTL-G): weights that sum to 1, equal projections on all unit gradients."""

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        return IMTLGWeighting()(scaled(gramian))
