"""What every sampling strategy gives."""

from abc import ABC, abstractmethod
from collections.abc import Mapping


class Strategy(ABC):
    """An endless stream of slots, each one batch of one task.

    Built once per phase from `batches` (task to number of batches in one pass over it, in the phase's order) and
    the generator key. `slot(q)` is pure: it names the task and the running number j of its batch, so that batch j
    belongs to pass j // batches[task].
    """

    def __init__(self, batches: Mapping[str, int], key: tuple[int, ...]) -> None:
        self.batches = dict(batches)
        self.key = key

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
