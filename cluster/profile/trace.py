"""What torch's profiler saw of some steps: the share of the backward pass, and the operations that take longest."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

PASSES = "forward/backward"
_BACKWARD = "autograd::engine::evaluate_function"
_LISTED = 10


class Operation(NamedTuple):
    """One kind of operation: its share of the time of all of them, without those that it calls, and its calls a step."""

    name: str
    share: float
    calls: float


def backward_share(events: Sequence[Any], on_gpu: bool) -> float:
    """Share of the backward passes in forward and backward passes, of the profiler's `events`; by the GPU's time where there is one."""
    backward = [event for event in events if event.name.startswith(_BACKWARD)]
    passes = [event for event in events if event.name == PASSES]
    if on_gpu:
        # Autograd runs in a thread of its own, so that the range holds the forward pass alone.
        back, forth = (sum(event.device_time_total for event in own) for own in (backward, passes))
        return back / (back + forth) if back + forth else 0.0
    whole = _covered((event.time_range.start, event.time_range.end) for event in passes)
    return _covered((event.time_range.start, event.time_range.end) for event in backward) / whole if whole else 0.0


def _covered(ranges: Iterable[tuple[float, float]]) -> float:
    """Time in any of these."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(ranges):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def longest_operations(averages: Iterable[Any], steps: int, on_gpu: bool) -> list[Operation]:
    """Those that take longest by themselves, the longest first; ranges and autograd's own are left out."""
    kind = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    spent = {
        own.key: (getattr(own, kind), own.count)
        for own in averages
        if own.key.startswith(("aten::", "c10d::", "gloo:", "nccl:"))
    }
    whole = sum(time for time, _ in spent.values()) or 1
    ordered = sorted(spent.items(), key=lambda item: -item[1][0])[:_LISTED]
    return [Operation(name, time / whole, calls / steps) for name, (time, calls) in ordered]
