"""Seconds by part."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from cluster.step.place import HERE


class Moment(Protocol):
    """A point in the device's time."""

    def query(self) -> bool:
        """Whether it is past."""

    def synchronize(self) -> None:
        """Wait until it is past."""

    def elapsed_time(self, later: Any, /) -> float:
        """Milliseconds from here to `later`, one of its own kind, both past."""


class WallMoment:
    """A moment of a CPU, which is past at once."""

    def __init__(self) -> None:
        self.at = time.perf_counter()

    def query(self) -> bool:
        """Always."""
        return True

    def synchronize(self) -> None:
        """At once."""

    def elapsed_time(self, later: "WallMoment", /) -> float:
        """Milliseconds from here to `later`."""
        return (later.at - self.at) * 1e3


def _of_gpu() -> Moment:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


class Stopwatch:
    """Adds up seconds under names: `with watch("optimizer"): …`. A part inside another one counts for itself alone.

    The seconds are a CPU's own, or those that a GPU takes: `now` marks a moment in its queue, and the host goes on. It is also the
    place where the process is.
    """

    def __init__(self, device: torch.device, now: Callable[[], Moment] | None = None) -> None:
        own: Callable[[], Moment] = _of_gpu if device.type == "cuda" else WallMoment
        self._now = now or own
        self._seconds: dict[str, float] = defaultdict(float)
        self._parts: list[str] = []
        # From a moment to the next, and in which part; what is past is added up.
        self._stretches: deque[tuple[Moment, Moment, str]] = deque()
        self._last: Moment | None = None

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        outer = HERE.part
        self._turn()
        self._parts.append(part)
        HERE.move(part=part)
        try:
            yield
        finally:
            self._turn()
            self._parts.pop()
            HERE.move(part=outer)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by part so far. A GPU is waited for."""
        if self._stretches:
            self._stretches[-1][1].synchronize()
        self._add_up()
        return self._seconds

    def _turn(self) -> None:
        moment, last = self._now(), self._last
        if self._parts and last is not None:
            self._stretches.append((last, moment, self._parts[-1]))
        self._last = moment
        self._add_up()

    def _add_up(self) -> None:
        while self._stretches and self._stretches[0][1].query():
            first, second, part = self._stretches.popleft()
            self._seconds[part] += first.elapsed_time(second) / 1e3
