"""What every loss combination gives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Granularity = Literal["encoder", "layer", "parameter"]
Groups = tuple[tuple[str, ...], ...]


class Plan(NamedTuple):
    """What is to be known before a round's backward passes.

    `groups`: the round's tasks in G groups, whose gradients of the shared parameters are kept apart. `losses` (K,): factors
    of the tasks' losses. `shared` (B, K): further factors of what the tasks add to the gradient of each block of the shared
    parameters, heads left out; None where all are 1.
    """

    groups: Groups
    losses: Tensor
    shared: Tensor | None = None


@dataclass(frozen=True)
class Facts:
    """What is known after them, the same on every rank.

    `losses` (K,) fp64: the mean of each task's own loss over its global batch. `gramian` (B, G, G) fp64: inner products of
    the groups' gradients, averaged over all ranks, in each block of the shared parameters. `heads` (K,) fp64: squares of the norms
    of the gradients of the tasks' heads.
    """

    step: int
    tasks: tuple[str, ...]
    groups: Groups
    losses: Tensor
    gramian: Tensor
    heads: Tensor

    @property
    def group_of(self) -> list[int]:
        """The group (K,) of each task."""
        return [next(g for g, group in enumerate(self.groups) if task in group) for task in self.tasks]


class Factors(NamedTuple):
    """`shared` (B, G): factors of the groups' gradients in each block; `heads` (K,): of the gradients of the tasks' heads.

    `fell_back`: whether the method found no weights, so that the sum stands in for it.
    """

    shared: Tensor
    heads: Tensor
    fell_back: bool = False


class Combination(ABC):
    """Turns what is known of a round's tasks into factors of their losses and gradients.

    `plan` is asked before the backward passes, `factors` after them, and `learn` after a step that was applied. Every rank
    asks the same and gets the same answer: all that is read is a mean over all ranks, and what is drawn is keyed by seed
    and step.
    """

    granularity: Granularity = "encoder"

    @abstractmethod
    def plan(self, tasks: Sequence[str], step: int) -> Plan:
        """Which gradients of `tasks` are kept apart, and what their losses are multiplied with."""

    def factors(self, facts: Facts) -> Factors:
        """The factors of the gradients that were kept apart; all 1 where a method says no other."""
        return ones(facts)

    def learn(self, facts: Facts) -> None:  # noqa: B027 a method without memory has nothing to learn
        """Take in a step that was applied."""

    def state_dict(self) -> dict[str, Tensor]:
        """What the next step depends on; empty for a method without memory."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over `state_dict()` of an earlier run."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, got {sorted(state)}")


def ones(facts: Facts) -> Factors:
    """Factors of the sum."""
    return Factors(torch.ones(facts.gramian.shape[:2]), torch.ones(len(facts.tasks)))


def together(tasks: Sequence[str]) -> Groups:
    """All tasks in one group."""
    return (tuple(tasks),)


def apart(tasks: Sequence[str]) -> Groups:
    """Every task by itself."""
    return tuple((task,) for task in tasks)


def used_weights(plan: Plan, facts: Facts, factors: Factors) -> dict[str, float]:
    """Task to the factor of its gradient in the update of the shared parameters, the mean over their blocks."""
    used = factors.shared[:, facts.group_of].mean(0) * plan.losses
    if plan.shared is not None:
        used = used * plan.shared.mean(0)
    return dict(zip(facts.tasks, used.tolist(), strict=True))
