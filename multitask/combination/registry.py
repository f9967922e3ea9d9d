"""Name to combination."""

from collections.abc import Mapping

from multitask.combination.base import Combination
from multitask.combination.linear import LossWeightsCombination, SizeWeightedCombination, SumCombination
from multitask.combination.pcgrad import PCGradCombination
from multitask.config import RunConfig

COMBINATIONS = {
    "sum": SumCombination,
    "size_weighted": SizeWeightedCombination,
    "loss_weights": LossWeightsCombination,
    "pcgrad": PCGradCombination,
}


def build_combination(config: RunConfig, train_rows: Mapping[str, int]) -> Combination:
    """The combination of `config`; `train_rows`: task to number of training rows."""
    return COMBINATIONS[config.combination.name](config.combination, train_rows, config.seed)
