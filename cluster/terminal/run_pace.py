"""How far a run is, worked out from its stream."""

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from cluster.training.observer import RunInfo
from multitask.score_names import is_dev_score

SMOOTHING = 0.9
RATE_WINDOW = 20


class Average:
    """Exponential moving average that is free of the bias towards its start; values that are not finite are left out."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._weight = 0.0

    def add(self, value: float) -> None:
        """Take in one more value."""
        if math.isfinite(value):
            self._sum = SMOOTHING * self._sum + (1 - SMOOTHING) * value
            self._weight = SMOOTHING * self._weight + (1 - SMOOTHING)

    @property
    def value(self) -> float | None:
        """The average; None before the first value."""
        return self._sum / self._weight if self._weight else None


class Progress:
    """The latest of everything: step, smoothed losses, dev scores and the ones before them, and the time left."""

    def __init__(self, run: RunInfo, clock: Callable[[], float] = time.monotonic) -> None:
        self.run = run
        self.step = run.resumed_step
        self.latest: dict[str, Any] = {}
        self.dev: dict[str, float] = {}
        self.previous_dev: dict[str, float] = {}
        self.losses = {task: Average() for task in run.tasks}
        self._clock = clock
        self._started = clock()
        self._marks: deque[tuple[float, int]] = deque(maxlen=RATE_WINDOW)

    def restart(self, run: RunInfo) -> None:
        """The workers were restarted and go on from the last checkpoint."""
        self.run = run
        self.step = run.resumed_step
        self._marks.clear()

    def update(self, metrics: dict[str, Any]) -> None:
        """Take in one report."""
        self.latest.update(metrics)
        self.step = metrics["step"]
        self._marks.append((self._clock(), self.step))
        for task, average in self.losses.items():
            if (loss := metrics.get(f"train/loss/{task}")) is not None:
                average.add(loss)
        scores = {key: value for key, value in metrics.items() if is_dev_score(key)}
        if scores:
            self.previous_dev, self.dev = self.dev, scores

    @property
    def elapsed(self) -> float:
        """Seconds since the run started to be watched."""
        return self._clock() - self._started

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the last step at the pace of the latest reports; None while the pace is not known."""
        if len(self._marks) < 2:
            return None
        (first_time, first_step), (last_time, last_step) = self._marks[0], self._marks[-1]
        if last_step <= first_step or last_time <= first_time:
            return None
        since_last = self._clock() - last_time
        left = (self.run.total_steps - last_step) * (last_time - first_time) / (last_step - first_step)
        return max(left - since_last, 0.0)
