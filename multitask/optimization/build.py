"""From the config to an optimizer."""

from typing import Any

import torch
from torch import nn

from multitask.config.training import AdamW as AdamWConfig
from multitask.config.training import OptimizerConfig
from multitask.optimization.active import ActiveGroups, AdamW
from multitask.optimization.epsilon_hat import AdamWEpsilonHat
from multitask.optimization.library import build_library_optimizer, is_elementwise


def runs_on_flat_shards(config: OptimizerConfig) -> bool:
    """Whether the optimizer may be given any cut of the flattened parameters."""
    return isinstance(config, AdamWConfig) or is_elementwise(config)


def build_optimizer(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of `config` over `groups`; groups whose `idle` is set are left alone."""
    if not isinstance(config, AdamWConfig):
        return build_library_optimizer(groups, config, mixin=ActiveGroups)
    if config.eps_hat:
        return AdamWEpsilonHat(groups, lr=config.lr, betas=config.betas, eps=config.eps)
    parameters: list[nn.Parameter] = groups[0]["params"]
    fused = parameters[0].device.type in ("cpu", "cuda")
    return AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)
