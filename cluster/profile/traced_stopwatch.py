"""A stopwatch whose parts are seen in a trace."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.profiler import record_function

from cluster.step.stopwatch import Stopwatch


class TracedStopwatch(Stopwatch):
    """As `Stopwatch`; while torch's profiler runs, each part is a range of its name."""

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        with record_function(part), super().__call__(part):
            yield
