"""Groups of tasks with a combination inside each of them and one between them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from multitask.combination.base import Combination, Factors, Facts, Groups, Plan, ones, together
from multitask.combination.kept import KeptWeights
from multitask.combination.setting import Setting
from multitask.config.combination import BetweenGroups


class _Part(NamedTuple):
    """One group of a round: its combination, its `tasks` that are there, what it plans for them."""

    own: Combination
    tasks: tuple[str, ...]
    plan: Plan


class GroupedCombination(Combination):
    """Weighs the tasks inside each group, then the groups, all from one Gramian.

    With R gradients that are kept apart, their Gramian G (R, R) and the weights that the groups' combinations give them as a
    matrix W (groups, R), the method between the groups reads W G Wᵀ, the Gramian of Σ wᵣ gᵣ of each group. A gradient's weight
    is the product of both. Where the combinations inside weigh losses alone, R is the number of groups.

    `inside`: a combination for each of the config's groups, which knows of its tasks alone.
    """

    def __init__(
        self, config: BetweenGroups, setting: Setting, between: Combination, inside: Sequence[Combination]
    ) -> None:
        assert config.groups is not None
        self.config, self.between, self.inside, self._groups = config, between, tuple(inside), config.groups
        self.granularity = getattr(config, "granularity", "encoder")
        self._kept = KeptWeights(setting.tasks, getattr(config, "every", 1))

    def plan(self, tasks: Sequence[str], step: int) -> Plan:
        if step < self.config.after:
            return Plan(together(tasks), torch.ones(len(tasks)))
        parts = self._parts(tasks, step)
        of = {task: weight for part in parts for task, weight in zip(part.tasks, part.plan.losses, strict=True)}
        losses = torch.stack([of[task] for task in tasks])
        if (kept := self._kept.of(tasks, step)) is not None:
            return Plan(together(tasks), losses, kept)
        return Plan(_rows(parts), losses)

    def _parts(self, tasks: Sequence[str], step: int) -> list[_Part]:
        parts = []
        for group, own in zip(self._groups, self.inside, strict=True):
            if there := tuple(task for task in tasks if task in group):
                parts.append(_Part(own, there, own.plan(there, step)))
        return parts

    def factors(self, facts: Facts) -> Factors:
        if facts.step < self.config.after or self._kept.of(facts.tasks, facts.step) is not None:
            return ones(facts)
        parts = self._parts(facts.tasks, facts.step)
        assert facts.groups == _rows(parts)
        within = self._within(facts, parts)
        member = torch.zeros(len(parts), len(facts.groups), dtype=torch.float64)
        at = [number for number, part in enumerate(parts) for _ in part.plan.groups]
        member[at, range(len(at))] = 1
        weights = member * within.shared.double()[:, None, :]
        between = self.between.factors(
            Facts(
                step=facts.step,
                tasks=facts.tasks,
                groups=tuple(part.tasks for part in parts),
                losses=facts.losses,
                gramian=weights @ facts.gramian @ weights.transpose(1, 2),
                heads=facts.heads * within.heads.double().square(),
            )
        )
        shared = within.shared * between.shared[:, at]
        self._kept.keep(shared[:, facts.group_of], facts)
        return Factors(shared, within.heads * between.heads, within.fell_back or between.fell_back)

    def _within(self, facts: Facts, parts: Sequence[_Part]) -> Factors:
        """The factors that the groups' combinations give."""
        shared, heads, fell_back, start = [], torch.ones(len(facts.tasks)), False, 0
        for part in parts:
            end = start + len(part.plan.groups)
            found = part.own.factors(_restricted(facts, part.tasks, part.plan.groups, slice(start, end)))
            shared.append(found.shared)
            heads[[facts.tasks.index(task) for task in part.tasks]] = found.heads
            fell_back, start = fell_back or found.fell_back, end
        return Factors(torch.cat(shared, 1), heads, fell_back)

    def learn(self, facts: Facts) -> None:
        for group, own in zip(self._groups, self.inside, strict=True):
            if there := tuple(task for task in facts.tasks if task in group):
                # What is learned from a step are its losses: its gradients may not be kept apart.
                own.learn(_restricted(facts, there, together(there), slice(0, 0)))

    def state_dict(self) -> dict[str, Tensor]:
        state = {f"between/{key}": value for key, value in self.between.state_dict().items()}
        for number, own in enumerate(self.inside):
            state |= {f"inside {number}/{key}": value for key, value in own.state_dict().items()}
        return state | self._kept.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._kept.load_state_dict(state)
        self.between.load_state_dict(_below("between/", state))
        for number, own in enumerate(self.inside):
            own.load_state_dict(_below(f"inside {number}/", state))


def _rows(parts: Sequence[_Part]) -> Groups:
    """What of the groups is kept apart."""
    return tuple(group for part in parts for group in part.plan.groups)


def _restricted(facts: Facts, tasks: tuple[str, ...], groups: Groups, rows: slice) -> Facts:
    """What of `facts` is about `tasks`, which make the gradients `rows`."""
    at = [facts.tasks.index(task) for task in tasks]
    return Facts(facts.step, tasks, groups, facts.losses[at], facts.gramian[:, rows, rows], facts.heads[at])


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
