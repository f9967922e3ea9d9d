"""The combination that a weighting of gradients makes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from multitask.combination.base import Combination, Factors, Facts, Groups, Plan, apart, ones, together
from multitask.combination.gradients.weighting import Round, Weighting
from multitask.combination.kept import KeptWeights
from multitask.combination.setting import Setting
from multitask.config.combination import GradientMethod
from multitask.keys import generator_key


def groups_of(config: GradientMethod, tasks: Sequence[str]) -> Groups:
    """The tasks of a round in the config's groups, every task by itself if it names none."""
    if config.groups is None:
        return apart(tasks)
    present = (tuple(task for task in tasks if task in group) for group in config.groups)
    return tuple(group for group in present if group)


class GradientCombination(Combination):
    """Weights of task gradients, one weighting for each block of the shared parameters.

    `make`: builds the weighting of one block.
    """

    def __init__(self, config: GradientMethod, setting: Setting, make: Callable[[], Weighting]) -> None:
        self.config, self._seed, self._make = config, setting.seed, make
        self.granularity = getattr(config, "granularity", "encoder")
        self._scope: str = getattr(config, "scope", "shared")
        self._averages = getattr(config, "reduction", "sum") == "mean"
        self._all = groups_of(config, setting.tasks)
        self._weightings: list[Weighting] = []
        self._kept = KeptWeights(setting.tasks, getattr(config, "every", 1))

    def plan(self, tasks: Sequence[str], step: int) -> Plan:
        loss_weights = torch.ones(len(tasks))
        groups = groups_of(self.config, tasks)
        if step < self.config.after or len(groups) == 1:
            return Plan(together(tasks), loss_weights)
        if (kept := self._kept.of(tasks, step)) is not None:
            return Plan(together(tasks), loss_weights, kept)
        return Plan(groups, loss_weights)

    def factors(self, facts: Facts) -> Factors:
        if len(facts.groups) == 1:
            return ones(facts)
        found = [self._weights(block, gramian, facts) for block, gramian in enumerate(self._compared(facts))]
        fell_back = any(weights is None for weights in found)
        sums = torch.ones(len(facts.groups), dtype=torch.float64)
        weights = torch.stack([sums if own is None else own for own in found])
        if self.config.strength != 1:
            weights = 1 + self.config.strength * (weights - 1)
        weighs_heads = self._scope == "all" or self._weightings[0].weighs_heads
        heads = weights[0, facts.group_of] if weighs_heads else torch.ones(len(facts.tasks))
        if self._averages:
            weights = weights / len(facts.groups)
        self._kept.keep(weights[:, facts.group_of], facts)
        return Factors(weights.float(), heads.float(), fell_back)

    def _compared(self, facts: Facts) -> Tensor:
        """The Gramians (B, G, G) that the method reads."""
        if self._scope == "shared":
            return facts.gramian
        squares = torch.zeros(len(facts.groups), dtype=torch.float64)
        squares.index_add_(0, torch.tensor(facts.group_of), facts.heads)
        return facts.gramian + squares.diag()

    def _weights(self, block: int, gramian: Tensor, facts: Facts) -> Tensor | None:
        """Weights (G,) in one block; None where the method finds none."""
        while len(self._weightings) <= block:
            self._weightings.append(self._make())
        if not gramian.isfinite().all():
            return None
        if not gramian.diagonal().any():
            return torch.ones(len(gramian), dtype=torch.float64)
        losses = torch.zeros(len(gramian), dtype=torch.float64).index_add_(
            0, torch.tensor(facts.group_of), facts.losses
        )
        at = [next(n for n, own in enumerate(self._all) if group[0] in own) for group in facts.groups]
        name = self.config.name if block == 0 else f"{self.config.name} {block}"
        now = Round(facts.groups, at, losses, generator_key(self._seed, name, facts.step))
        try:
            weights = self._weightings[block](gramian, now)
        except (ArithmeticError, RuntimeError, ValueError):
            return None
        return weights.double() if weights.isfinite().all() else None

    def state_dict(self) -> dict[str, Tensor]:
        state = {
            f"{block}/{key}": value
            for block, own in enumerate(self._weightings)
            for key, value in own.state_dict().items()
        }
        return state | self._kept.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._kept.load_state_dict(state)
        own: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            block, _, key = name.partition("/")
            if key:
                own.setdefault(int(block), {})[key] = value
        self._weightings = [self._make() for _ in range(max(own, default=-1) + 1)]
        for number, values in own.items():
            self._weightings[number].load_state_dict(values)
