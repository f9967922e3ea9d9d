"""The learning rate of every step."""

import math

import numpy as np

from multitask.config import RunConfig
from multitask.config.training import ScheduleConfig
from multitask.sampling import Schedule


def scheduled_share(step: int, steps: int, config: ScheduleConfig) -> float:
    """Share of the peak in step number `step` (from 0) of `steps`: linear warm-up, then the decay towards 0."""
    warmup = round(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    if config.decay == "constant":
        return 1.0
    return 1 - progress if config.decay == "linear" else (1 + math.cos(math.pi * progress)) / 2


class LearningRate:
    """The rate of each step, a pure function of it.

    The peak is that of the step's phase. A schedule spans the whole run or each phase (`schedule.per`), and with
    `optimizer.per_task` the steps of the step's own task in that span.
    """

    def __init__(self, config: RunConfig, schedule: Schedule) -> None:
        self._config, self._schedule = config, schedule
        self._tasks: np.ndarray | None = None
        if config.optimizer.per_task:
            number = {task: index for index, task in enumerate(config.tasks)}
            self._tasks = np.array([number[schedule.round(step).tasks[0]] for step in range(schedule.steps)])

    def at(self, step: int) -> float:
        """The rate of step number `step`."""
        phase = self._schedule.phase_of(step)
        peak = self._config.phases[phase].lr or self._config.optimizer.lr
        per_phase = self._config.schedule.per == "phase"
        span = self._schedule.phase_steps(phase) if per_phase else range(self._schedule.steps)
        position, length = step - span.start, len(span)
        if self._tasks is not None:
            own = self._tasks[span.start : span.stop] == self._tasks[step]
            position, length = int(own[:position].sum()), int(own.sum())
        return peak * scheduled_share(position, length, self._config.schedule)
