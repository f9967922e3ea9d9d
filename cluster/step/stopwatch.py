"""Seconds by part, and how they are written."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cluster.step.place import HERE


class Stopwatch:
    """Adds up wall-clock seconds under names: `with watch("optimizer"): …`. Waits for the GPU where there is one.

    A part inside another one counts for itself alone, so that no second is counted twice. It is also the place where the process is.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside = [0.0]
        self._cuda = device.type == "cuda"

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start, outer = self._now(), HERE.part
        HERE.move(part=part)
        self._inside.append(0.0)
        try:
            yield
        finally:
            whole = self._now() - start
            self.seconds[part] += whole - self._inside.pop()
            self._inside[-1] += whole
            HERE.move(part=outer)

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def clock(seconds: float | None) -> str:
    """mm:ss, or h:mm:ss from an hour on."""
    if seconds is None:
        return "--:--"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
