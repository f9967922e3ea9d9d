"""Tasks drawn at random, with probabilities that depend on their sizes."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from multitask.config.consistency import tasks_in_one_step
from multitask.config.sampling import Annealed, DrawnByWeights, DrawnConfig, SquareRoot, Temperature
from multitask.sampling.strategy import Plan, Strategy

# Steps drawn at once: a long epoch then needs little more memory than its result.
_STEPS_AT_ONCE = 1 << 16
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(128)


def task_probabilities(config: DrawnConfig, rows: Mapping[str, int], epoch: int, epochs: int) -> np.ndarray:
    """Probability of each task (K,), in the order of `rows`, in epoch number `epoch` (from 0) of `epochs`."""
    sizes = np.array(list(rows.values()), dtype=np.float64)
    if isinstance(config, SquareRoot):
        weights = np.sqrt(sizes)
    elif isinstance(config, Temperature):
        weights = np.minimum(sizes, config.cap or np.inf) ** (1 / config.temperature)
    elif isinstance(config, Annealed):
        progress = epoch / (epochs - 1) if epochs > 1 else 0.0
        weights = sizes ** (config.start - (config.start - config.end) * progress)
    elif isinstance(config, DrawnByWeights):
        weights = np.array([config.draw_weights[task] for task in rows], dtype=np.float64)
    else:
        weights = np.ones_like(sizes)
    probabilities: np.ndarray = weights / weights.sum()
    return probabilities


def expected_draws(chances: np.ndarray, number: int) -> np.ndarray:
    """How often a step draws each task (K,) on the average: `number` different ones, one after the other, by `chances` (K,).

    Drawing so is a race in which task k arrives at rate pₖ (Kool et al. 2019): with u the chance that it is still away, it is
    among the first where fewer than `number` of the others, each away with chance u^(pⱼ / pₖ), have come. The integral over u
    is good to four digits.
    """
    if number == 1:
        return chances
    u = (_NODES + 1) / 2
    draws = np.zeros(len(chances))
    for own, chance in enumerate(chances):
        # Column n: the chance that n of the others have come.
        come = np.zeros((len(u), number))
        come[:, 0] = 1
        for rate in np.delete(chances, own) / chance:
            away = (u**rate)[:, None]
            come, before = come * away, come * (1 - away)
            come[:, 1:] += before[:, :-1]
        draws[own] = _NODE_WEIGHTS @ come.sum(axis=1) / 2
    return draws * (number / draws.sum())


class DrawnStrategy(Strategy):
    """Each step draws `tasks_per_step` different tasks, one after the other, by the probabilities of its epoch.

    A task's batches are taken in its own order, pass after pass, wherever it is drawn.
    """

    def __init__(self, config: DrawnConfig, plan: Plan) -> None:
        self._config, self._plan = config, plan
        self._tasks = tuple(plan.sizes)
        self._rows = {task: size.rows for task, size in plan.sizes.items()}
        self._per_step = tasks_in_one_step(config, len(self._tasks))
        self._steps = plan.steps_per_epoch or -(-sum(plan.batches.values()) // self._per_step)
        self._epoch = lru_cache(maxsize=2)(self._draw)
        self._before = [np.zeros(len(self._tasks), dtype=np.int64)]

    @property
    def slots_per_epoch(self) -> int:
        return self._steps * self.slots_per_step

    @property
    def slots_per_step(self) -> int:
        return self._per_step

    def slot(self, q: int) -> tuple[str, int]:
        epoch, position = divmod(q, self.slots_per_epoch)
        order, rank = self._epoch(epoch)
        number = order[position]
        return self._tasks[number], int(self._drawn_before(epoch)[number] + rank[position])

    def _drawn_before(self, epoch: int) -> np.ndarray:
        """How often each task (K,) was drawn in all epochs before `epoch`."""
        while len(self._before) <= epoch:
            order, _ = self._epoch(len(self._before) - 1)
            self._before.append(self._before[-1] + np.bincount(order, minlength=len(self._tasks)))
        return self._before[epoch]

    def _draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Task numbers of the epoch's slots, and how often the slot's task came before it in the epoch."""
        chances = task_probabilities(self._config, self._rows, epoch, self._plan.epochs)
        source = np.random.PCG64([*self._plan.key, epoch])
        starts = range(0, self._steps, _STEPS_AT_ONCE)
        numbers = (min(_STEPS_AT_ONCE, self._steps - start) for start in starts)
        order = np.concatenate([self._draw_steps(source, steps, chances) for steps in numbers])
        rank = np.empty_like(order)
        for number in range(len(chances)):
            places = np.flatnonzero(order == number)
            rank[places] = np.arange(len(places))
        return order, rank

    def _draw_steps(self, source: np.random.PCG64, steps: int, chances: np.ndarray) -> np.ndarray:
        """Task numbers of the next `steps` steps' slots.

        The largest of log p + Gumbel noise are a draw without replacement (Gumbel top-k, Kool et al. 2019).
        """
        bits = source.random_raw(steps * len(chances)).reshape(steps, -1)
        uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        scores = np.log(chances) - np.log(-np.log(uniform))
        return np.argsort(-scores, axis=1, kind="stable")[:, : self.slots_per_step].astype(np.int32).reshape(-1)
