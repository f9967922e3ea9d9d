"""Optimizers that leave idle groups alone."""

from collections.abc import Callable, Iterable
from typing import Any

import torch


class ActiveGroups(torch.optim.Optimizer):
    """Mixed in before an optimizer's class: a step sees neither groups whose `idle` is set nor empty ones.

    A head whose task is not in the round has no gradient. Its weights, moments and step count stay, as in plain
    torch, where such a parameter's gradient is None; a flat shard full of zeros would decay them. ZeRO 3 steps its
    groups one by one and empties the others meanwhile: their step counts must not run on.

    A group's `decay` is weight decay beside the update: rate · decay · w is taken off each weight w first, as AdamW does.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of the active groups."""
        everything = self.param_groups
        self.param_groups = [group for group in everything if group["params"] and not group.get("idle")]
        try:
            if self.param_groups:
                _decay(self.param_groups)
                super().step()
        finally:
            self.param_groups = everything


def _decay(groups: Iterable[dict[str, Any]]) -> None:
    for group in groups:
        if factor := group["lr"] * group.get("decay", 0.0):
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - factor)


class AdamW(ActiveGroups, torch.optim.AdamW):
    """torch's AdamW on active groups."""
