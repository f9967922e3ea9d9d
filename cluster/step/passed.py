"""What the passes of a step leave."""

from typing import NamedTuple

from torch import Tensor

from cluster.step.token_exchange import OwnedTokens
from cluster.step.totals import DeviceTotals
from multitask.combination import Plan
from multitask.sampling import Round


class Passed(NamedTuple):
    """This rank's shards of the groups' gradients and of the heads', its tokens', and the totals over all ranks."""

    plan: Plan
    shards: list[Tensor]
    head: Tensor
    tokens: OwnedTokens | None
    totals: DeviceTotals


class UnseenStep(NamedTuple):
    """A step that was done, and that the host has not looked at."""

    round: Round
    plan: Plan
    totals: DeviceTotals
