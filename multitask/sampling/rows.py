"""From a task's running batch numbers to rows of its table."""

from functools import lru_cache

import numpy as np

from multitask.config import RunConfig
from multitask.data import EpochBatches, MappedColumn, epoch_batches, number_of_batches


class TaskRows:
    """The rows of each batch of one task in one phase, a pure function of (seed, phase, task, number).

    `lengths`: tokens of each row of the training table (rows,).
    """

    def __init__(self, config: RunConfig, task: str, phase: int, lengths: np.ndarray | MappedColumn) -> None:
        self._limit = config.tasks[task].rows_per_epoch
        self.batches = number_of_batches(len(lengths), config.batch_size(task), self._limit)
        self._config, self._task, self._phase, self._lengths = config, task, phase, lengths
        self._pass = lru_cache(maxsize=2)(self._order)

    def rows(self, numbers: tuple[int, ...]) -> np.ndarray:
        """Row numbers of the batches `numbers`, one after the other."""
        parts = [self._pass(number // self.batches)[number % self.batches] for number in numbers]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _order(self, epoch: int) -> EpochBatches:
        return epoch_batches(
            self._lengths,
            self._config.batch_size(self._task),
            seed=self._config.seed,
            task=f"{self._phase}/{self._task}",
            epoch=epoch,
            pool_batches=self._config.data.pool_batches,
            rows_per_epoch=self._limit,
        )
