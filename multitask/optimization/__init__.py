"""Parameter groups and the optimizers that step them."""

from multitask.optimization.build import build_optimizer, runs_on_flat_shards
from multitask.optimization.groups import SHARED, parameter_groups, set_rates

__all__ = ["SHARED", "build_optimizer", "parameter_groups", "runs_on_flat_shards", "set_rates"]
