"""What every loss combination gives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor


class Combination(ABC):
    """Turns what is known of a round's tasks into one weight per task.

    A combination either weighs losses (`loss_weights` is known before the backward pass, which then runs over one
    weighted sum and keeps no gradient per task), or it reads the Gramian of the task gradients (`needs_gramian`):
    then the worker keeps each task's gradient of the shared parameters apart, forms the K × K Gramian of the
    averages over all ranks, and asks for `gradient_weights`. Every rank asks and gets the same answer. Heads keep
    the gradient of their own (weighted) loss either way.
    """

    needs_gramian = False

    @abstractmethod
    def loss_weights(self, tasks: Sequence[str]) -> Tensor:
        """Weights (K,) fp32 of the losses of `tasks`."""

    def gradient_weights(self, gramian: Tensor, tasks: Sequence[str], step: int) -> Tensor:
        """Weights (K,) fp32 of the gradients of `tasks` from their Gramian (K, K); asked only if `needs_gramian`."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Tensor]:
        """What the next step depends on; empty for a method without memory."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over `state_dict()` of an earlier run."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, got {sorted(state)}")
