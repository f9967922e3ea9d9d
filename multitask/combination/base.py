"""What every loss combination gives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor


class Combination(ABC):
    """Turns what is known of a round's tasks into one weight per task.

    A combination weighs losses (`loss_weights`, known before the backward pass) and may read the Gramian of task
    gradients: then it names several groups (`groups`), the worker keeps the gradient of each group's loss with respect to
    the shared parameters apart, forms the Gramian of the averages over all ranks, and asks for `gradient_weights`. Every
    rank asks and gets the same answer. Heads keep the gradient of their own weighted loss either way.
    """

    @abstractmethod
    def loss_weights(self, tasks: Sequence[str]) -> Tensor:
        """Weights (K,) fp32 of the losses of `tasks`."""

    def groups(self, tasks: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """`tasks` in G groups, each with a gradient of its own; one group needs no Gramian."""
        return (tuple(tasks),)

    def gradient_weights(self, gramian: Tensor, groups: Sequence[Sequence[str]], step: int) -> Tensor:
        """Weights (G,) fp32 of the groups' gradients from their Gramian (G, G); asked only if there are several."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Tensor]:
        """What the next step depends on; empty for a method without memory."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over `state_dict()` of an earlier run."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, got {sorted(state)}")
