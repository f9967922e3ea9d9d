"""What every sampling strategy gives."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from multitask.sampling.sizes import TaskSize


@dataclass(frozen=True)
class Plan:
    """What a strategy is told of its phase.

    `sizes`: task to size, in the phase's order. `key`: the generator key. `epochs`, and `steps_per_epoch` where the config
    gives it.
    """

    sizes: Mapping[str, TaskSize]
    key: tuple[int, ...]
    epochs: int
    steps_per_epoch: int | None

    @property
    def batches(self) -> dict[str, int]:
        """Task to batches in one pass over it."""
        return {task: size.batches for task, size in self.sizes.items()}


class Strategy(ABC):
    """An endless stream of slots, each one batch of one task.

    `slot(q)` is pure: it names the task and the running number j of its batch, so that batch j belongs to pass
    j // batches[task].
    """

    @property
    @abstractmethod
    def slots_per_epoch(self) -> int:
        """Slots after which an epoch ends, by the strategy's own count."""

    @property
    @abstractmethod
    def slots_per_step(self) -> int:
        """Slots that one step takes."""

    @abstractmethod
    def slot(self, q: int) -> tuple[str, int]:
        """Task and running batch number of slot `q`, q ≥ 0."""
