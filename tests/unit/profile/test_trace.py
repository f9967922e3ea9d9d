"""What is made of the profiler's events."""

from types import SimpleNamespace

import pytest

from cluster.profile.trace import backward_share, longest_operations


def event(name: str, start: float, end: float, device: float = 0.0) -> SimpleNamespace:
    return SimpleNamespace(
        name=name,
        time_range=SimpleNamespace(start=start, end=end),
        device_time_total=device,
        cpu_time_total=end - start,
    )


def test_backward_pass_is_what_autograd_covers_of_both() -> None:
    evaluated = "autograd::engine::evaluate_function: MmBackward0"
    events = [
        event("forward/backward", 0, 100),
        event("aten::mm", 0, 40),
        event(evaluated, 40, 60),
        event(evaluated, 50, 70),  # one inside the other counts once
        event("optimizer", 100, 200),
    ]
    assert backward_share(events, on_gpu=False) == pytest.approx(0.3)
    assert backward_share([], on_gpu=False) == 0


def test_on_a_gpu_its_own_time_counts() -> None:
    evaluated = "autograd::engine::evaluate_function: MmBackward0"
    events = [
        event("forward/backward", 0, 5, device=30),
        event(evaluated, 5, 6, device=50),
        event(evaluated, 6, 7, device=10),
    ]
    assert backward_share(events, on_gpu=True) == pytest.approx(2 / 3)


def test_longest_operations_come_first_without_ranges() -> None:
    averages = [
        SimpleNamespace(key="aten::add", self_cpu_time_total=10, count=8),
        SimpleNamespace(key="aten::mm", self_cpu_time_total=30, count=4),
        SimpleNamespace(key="forward/backward", self_cpu_time_total=1000, count=2),
    ]
    assert longest_operations(averages, 2, on_gpu=False) == [("aten::mm", 0.75, 2), ("aten::add", 0.25, 4)]
