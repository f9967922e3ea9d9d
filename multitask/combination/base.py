"""What every loss combination gives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class GroupWeights(NamedTuple):
    """Factors (G,) fp32 of the groups' gradients: of what all tasks share, and of the heads of the group's own tasks."""

    shared: Tensor
    heads: Tensor


class Combination(ABC):
    """Turns what is known of a round's tasks into weights of their gradients.

    A combination weighs losses (`loss_weights`, known before the backward pass) and may read the Gramian of task
    gradients: then it names several groups (`groups`), the worker keeps the gradient of each group's loss with respect to
    the shared parameters apart, forms the Gramian of the averages over all ranks, and asks for `group_weights`. Every
    rank asks and gets the same answer.
    """

    # Whether the Gramian is of whole gradients, the heads' included, or of those of the shared parameters.
    takes_heads = False

    @abstractmethod
    def loss_weights(self, tasks: Sequence[str]) -> Tensor:
        """Weights (K,) fp32 of the losses of `tasks`."""

    def groups(self, tasks: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """`tasks` in G groups, each with a gradient of its own; one group needs no Gramian."""
        return (tuple(tasks),)

    def group_weights(self, gramian: Tensor, groups: Sequence[Sequence[str]], step: int) -> GroupWeights:
        """Weights of the groups' gradients from their Gramian (G, G); one group has the weight 1."""
        if len(groups) == 1:
            return GroupWeights(torch.ones(1), torch.ones(1))
        return self.gradient_weights(gramian, groups, step)

    def gradient_weights(self, gramian: Tensor, groups: Sequence[Sequence[str]], step: int) -> GroupWeights:
        """What `group_weights` gives where there are several groups."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Tensor]:
        """What the next step depends on; empty for a method without memory."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over `state_dict()` of an earlier run."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, got {sorted(state)}")
