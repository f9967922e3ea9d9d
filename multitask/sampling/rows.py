"""From a task's running batch numbers to rows of its table."""

from functools import lru_cache

import numpy as np

from multitask.config import RunConfig
from multitask.data import EpochBatches, MappedColumn, epoch_batches
from multitask.data.permutation import Permutation
from multitask.sampling.sizes import TaskSize


class TaskRows:
    """The rows of each batch of one task in one phase, a pure function of (seed, phase, task, number).

    `lengths`: tokens of each row of the training table (rows,). Where `size.rows` are fewer than that, the same rows
    are used in every pass and phase, drawn by the seed.
    """

    def __init__(
        self, config: RunConfig, task: str, phase: int, lengths: np.ndarray | MappedColumn, size: TaskSize
    ) -> None:
        self._config, self._task, self._phase, self._size = config, task, phase, size
        self._used: np.ndarray | None = None
        if size.rows < len(lengths):
            drawn = Permutation(len(lengths), f"{config.seed}/{task}", "used")(np.arange(size.rows))
            self._used = np.sort(drawn)
            lengths = np.asarray(lengths[self._used])
        self._lengths = lengths
        self._pass = lru_cache(maxsize=2)(self._order)

    def rows(self, numbers: tuple[int, ...]) -> np.ndarray:
        """Row numbers of the batches `numbers`, one after the other."""
        parts = [self._pass(number // self._size.batches)[number % self._size.batches] for number in numbers]
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return rows if self._used is None else self._used[rows]

    def _order(self, epoch: int) -> EpochBatches:
        task = self._config.tasks[self._task]
        return epoch_batches(
            self._lengths,
            self._size.batch_size,
            seed=self._config.seed,
            task=f"{self._phase}/{self._task}",
            epoch=epoch,
            # Sorted, all negatives of a text would be of its own length.
            pool_batches=1 if task.compares_rows else self._config.data.pool_batches,
            rows_per_pass=task.rows_per_pass,
            least_rows=task.least_rows,
        )
