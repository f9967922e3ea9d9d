"""Weights that are kept between two looks at the gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor

from multitask.combination.base import Facts


class KeptWeights:
    """The weights of each block and task at the last look, which hold until `every` steps after it."""

    def __init__(self, tasks: Sequence[str], every: int) -> None:
        self._tasks, self._every = tuple(tasks), every
        # NaN for tasks that were not there.
        self._kept: Tensor | None = None
        self._looked = -1

    def of(self, tasks: Sequence[str], step: int) -> Tensor | None:
        """Weights (B, K) of `tasks` if they still hold at `step`; None where it is time to look, or a task was not there."""
        if self._kept is None or not self._looked < step < self._looked + self._every:
            return None
        kept = self._kept[:, [self._tasks.index(task) for task in tasks]]
        return None if kept.isnan().any() else kept.float()

    def keep(self, weights: Tensor, facts: Facts) -> None:
        """Keep `weights` (B, K) of the tasks of `facts`, where any are asked for later."""
        if self._every == 1:
            return
        self._kept = torch.full((len(weights), len(self._tasks)), torch.nan, dtype=torch.float64)
        self._kept[:, [self._tasks.index(task) for task in facts.tasks]] = weights.double()
        self._looked = facts.step

    def state_dict(self) -> dict[str, Tensor]:
        """What the next step depends on, without NaN: a checkpoint keeps it as JSON."""
        if self._kept is None:
            return {}
        known = self._kept.isfinite().double()
        looked = torch.tensor([self._looked], dtype=torch.float64)
        return {"kept": self._kept.nan_to_num(0.0), "known": known, "looked": looked}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict()` of an earlier run holds among `state`."""
        if "kept" in state:
            self._kept = torch.where(state["known"] > 0, state["kept"], torch.nan)
            self._looked = int(state["looked"])
