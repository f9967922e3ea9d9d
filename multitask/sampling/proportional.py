"""Every batch of every task once, in random order."""

from functools import lru_cache

import numpy as np

from multitask.config.sampling import Proportional
from multitask.sampling.strategy import Plan, Strategy


class ProportionalStrategy(Strategy):
    """An epoch is one random permutation of the batches of all tasks, so that each row comes once (MT-DNN, Liu et al. 2019, algorithm 1)."""

    def __init__(self, config: Proportional, plan: Plan) -> None:
        self.batches, self.key = plan.batches, plan.key
        self.tasks = tuple(self.batches)
        self._per_step = config.merged_batches
        self._epoch = lru_cache(maxsize=2)(self._draw)

    @property
    def slots_per_epoch(self) -> int:
        return sum(self.batches.values())

    @property
    def slots_per_step(self) -> int:
        return self._per_step

    def slot(self, q: int) -> tuple[str, int]:
        epoch, position = divmod(q, self.slots_per_epoch)
        order, rank = self._epoch(epoch)
        task = self.tasks[order[position]]
        return task, epoch * self.batches[task] + int(rank[position])

    def _draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Task numbers of the epoch's slots, and how often the slot's task came before it in the epoch."""
        order = np.repeat(np.arange(len(self.tasks), dtype=np.int32), list(self.batches.values()))
        np.random.Generator(np.random.PCG64([*self.key, epoch])).shuffle(order)
        rank = np.empty_like(order)
        for task, number in enumerate(self.batches.values()):
            rank[order == task] = np.arange(number)
        return order, rank
