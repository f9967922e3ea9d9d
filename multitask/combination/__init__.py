"""How the tasks' losses or gradients become one update.

The maths is torchjd's; here is what makes it the same on every rank: the statistic is formed over all ranks, and
randomness is keyed by (seed, step).
"""

from multitask.combination.base import Combination, GroupWeights
from multitask.combination.gramian import cosines, gramian
from multitask.combination.registry import COMBINATIONS, build_combination

__all__ = ["COMBINATIONS", "Combination", "GroupWeights", "build_combination", "cosines", "gramian"]
