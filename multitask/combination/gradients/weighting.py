"""What a method that reads the Gramian gives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multitask.combination.base import Groups


class NoWeightsError(ArithmeticError):
    """A method finds no weights for a Gramian."""


@dataclass(frozen=True)
class Round:
    """What a weighting may read beside the Gramian.

    `at`: which of the config's groups are there; `losses` (G,) fp64: sums of their tasks' losses; `key`: of what is drawn.
    """

    groups: Groups
    at: Sequence[int]
    losses: Tensor
    key: int


class Weighting(ABC):
    """Weights of G gradients from their Gramian; a subclass with memory keeps it for all groups of the config."""

    # Whether the heads' losses are weighted, too.
    weighs_heads = False

    @abstractmethod
    def __call__(self, gramian: Tensor, now: Round) -> Tensor:
        """Weights (G,) from a Gramian (G, G), fp64, whose diagonal is not all zero.

        Raises:
            ArithmeticError, RuntimeError, ValueError: there are none.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """What the next step depends on, fp64."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over `state_dict()` of an earlier run."""
        if state:
            raise KeyError(f"{type(self).__name__} has no state, got {sorted(state)}")


def scaled(gramian: Tensor) -> Tensor:
    """The Gramian of gradients whose mean square of norms is 1, for methods to which the common scale means nothing."""
    return gramian / gramian.diagonal().mean()


def preference(given: dict[str, float] | None, groups: Groups) -> Tensor | None:
    """How much each group counts (G,), fp64, scaled to a sum of 1; a group counts as much as its tasks together."""
    if given is None:
        return None
    sums = torch.tensor([sum(given[task] for task in group) for group in groups], dtype=torch.float64)
    return sums / sums.sum()
