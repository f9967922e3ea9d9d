"""The learning rate of every step."""

import math
from collections.abc import Sequence

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
        phases = range(len(config.phases))
        per_phase = config.schedule.per == "phase"
        self._spans = [schedule.phase_steps(phase) if per_phase else range(schedule.steps) for phase in phases]
        self._own_steps = _own_steps(config, schedule, self._spans) if config.optimizer.per_task else None

    def at(self, step: int) -> float:
        """The rate of step number `step`."""
        phase = self._schedule.phase_of(step)
        peak = self._config.phases[phase].lr or self._config.optimizer.lr
        span = self._spans[phase]
        position, length = step - span.start, len(span)
        if self._own_steps is not None:
            position, length = self._own_steps[:, step].tolist()
        return peak * scheduled_share(position, length, self._config.schedule)


def _own_steps(config: RunConfig, schedule: Schedule, spans: Sequence[range]) -> np.ndarray:
    """For each step the steps of its task before it in its span, and all of them: (2, steps)."""
    number = {task: index for index, task in enumerate(config.tasks)}
    tasks = np.array([number[schedule.round(step).tasks[0]] for step in range(schedule.steps)])
    found = np.empty((2, len(tasks)), dtype=np.int64)
    for span in dict.fromkeys(spans):
        for task in range(len(number)):
            own = span.start + np.flatnonzero(tasks[span.start : span.stop] == task)
            found[0, own], found[1, own] = np.arange(len(own)), len(own)
    return found
