"""How the tasks' losses or gradients become one update.

Each method is the same on every rank: what it reads is a mean over all ranks, and its randomness is keyed by (seed, step).
Where torchjd has the maths, it is torchjd's.
"""

from multitask.combination.base import Combination, Factors, Facts, Granularity, Plan
from multitask.combination.coordinates.combination import CoordinateCombination
from multitask.combination.gramian import cosines, gramian
from multitask.combination.layers import Layers
from multitask.combination.registry import COMBINATIONS, WEIGHTINGS, build_combination
from multitask.combination.setting import Setting

__all__ = [
    "COMBINATIONS",
    "WEIGHTINGS",
    "Combination",
    "CoordinateCombination",
    "Factors",
    "Facts",
    "Granularity",
    "Layers",
    "Plan",
    "Setting",
    "build_combination",
    "cosines",
    "gramian",
]
