"""Parameter groups, optimizer and learning-rate schedule."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from multitask.config.training import AdamW as AdamWConfig
from multitask.config.training import ScheduleConfig
from multitask.model import MultitaskModel

SHARED = "shared"


class AdamW(torch.optim.AdamW):
    """AdamW that leaves a group alone while its `idle` is set.

    A head whose task is not in the round has no gradient. Its weights, moments and step count stay, as in plain
    torch, where such a parameter's gradient is None; a flat partition full of zeros would decay them.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of the groups that are not idle."""
        put_aside = [(group, group["params"]) for group in self.param_groups if group.get("idle")]
        for group, _ in put_aside:
            group["params"] = []
        try:
            super().step()
        finally:
            for group, parameters in put_aside:
                group["params"] = parameters


def parameter_groups(model: MultitaskModel, weight_decay: float) -> list[dict[str, Any]]:
    """Groups of trainable parameters: shared ones and each head's, each with and without weight decay.

    Biases and normalisation weights (everything with fewer than two dimensions) are not decayed. A group's `owner`
    is `shared` or the task whose head it is.
    """
    owners = {SHARED: model.shared_parameters()} | {task: model.head_parameters(task) for task in model.heads}
    groups = []
    for owner, parameters in owners.items():
        for decayed in (True, False):
            own = [p for p in parameters.values() if (p.dim() > 1) == decayed]
            if own:
                groups.append({"params": own, "weight_decay": weight_decay if decayed else 0.0, "owner": owner})
    return groups


def build_optimizer(groups: list[dict[str, Any]], config: AdamWConfig) -> AdamW:
    """The optimizer of `config` over `groups`."""
    parameters: list[nn.Parameter] = groups[0]["params"]
    fused = parameters[0].device.type in ("cpu", "cuda")
    return AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)


def learning_rate(step: int, steps: int, peak: float, config: ScheduleConfig) -> float:
    """The rate of step number `step` (from 0) of `steps`: linear warm-up to `peak`, then decay towards 0."""
    warmup = round(config.warmup * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    if config.decay == "constant":
        return peak
    if config.decay == "linear":
        return peak * (1 - progress)
    return peak * (1 + math.cos(math.pi * progress)) / 2
