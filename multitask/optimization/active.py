"""Optimizers that leave idle groups alone."""

from collections.abc import Callable

import torch


class ActiveGroups(torch.optim.Optimizer):
    """Mixed in before an optimizer's class: a step sees neither groups whose `idle` is set nor empty ones.

    A head whose task is not in the round has no gradient. Its weights, moments and step count stay, as in plain
    torch, where such a parameter's gradient is None; a flat shard full of zeros would decay them. ZeRO 3 steps its
    groups one by one and empties the others meanwhile: their step counts must not run on.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of the active groups."""
        everything = self.param_groups
        self.param_groups = [group for group in everything if group["params"] and not group.get("idle")]
        try:
            if self.param_groups:
                super().step()
        finally:
            self.param_groups = everything


class AdamW(ActiveGroups, torch.optim.AdamW):
    """torch's AdamW on active groups."""
