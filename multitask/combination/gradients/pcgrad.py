"""Gradient surgery."""

import torch
from torch import Tensor
from torchjd.aggregation import PCGradWeighting

from multitask.combination.gradients.weighting import Round, Weighting


class PCGradWeights(Weighting):
    """Projecting conflicting gradients (Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", algorithm 1).

    Each gᵢ loses, for the other tasks j in random order, its component along gⱼ where gᵢ · gⱼ < 0; the results are
    summed. The order is drawn under a generator keyed by (seed, step), so that all ranks and a resumed run draw the
    same. For two tasks the order does not matter.

    With the scope `all`, gᵢ is the gradient of all parameters. Heads belong to one group each, so the Gramian differs in
    its diagonal alone, and each head gets the weight of its group. With the reduction `mean` the sum over what is shared is
    divided by the number of groups, what only some of them have is not (W.-C. Tseng, Pytorch-PCGrad, `has_grad`). The ports
    also project gᵢ away from itself, which the paper does not: it matters only where the other projections have turned gᵢ by
    more than 90°.
    """

    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(now.key)
            return PCGradWeighting()(gramian.float())
