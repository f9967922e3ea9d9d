"""Seconds by part, also where the device is behind the host."""

import pytest
import torch

from cluster.step.stopwatch import Stopwatch


class Device:
    """A device that comes to each moment `lag` seconds after the host has marked it; both have the host's clock."""

    def __init__(self, lag: float) -> None:
        self.host, self.lag, self.waited = 0.0, lag, 0

    def now(self) -> "Marked":
        return Marked(self, self.host + self.lag)


class Marked:
    def __init__(self, device: Device, at: float) -> None:
        self.device, self.at = device, at

    def query(self) -> bool:
        return self.device.host >= self.at

    def synchronize(self) -> None:
        self.device.waited += not self.query()
        self.device.host = max(self.device.host, self.at)

    def elapsed_time(self, later: "Marked") -> float:
        assert self.query()
        assert later.query()
        return (later.at - self.at) * 1e3


@pytest.mark.parametrize("lag", [0.0, 100.0])
def test_parts_inside_others_count_for_themselves_and_only_reading_waits(lag: float) -> None:
    device = Device(lag)
    watch = Stopwatch(torch.device("cpu"), device.now)
    for _ in range(2):
        with watch("outer"):
            device.host += 1
            with watch("inner"):
                device.host += 2
            device.host += 4
        # Outside of all parts.
        device.host += 8
    assert device.waited == 0
    assert watch.seconds == pytest.approx({"outer": 10.0, "inner": 4.0})
    assert device.waited == (lag > 0)


def test_what_is_past_is_added_up_without_being_read() -> None:
    device = Device(3.0)
    watch = Stopwatch(torch.device("cpu"), device.now)
    for _ in range(100):
        with watch("step"):
            device.host += 1
    assert len(watch._stretches) <= 4


def test_error_in_a_part_leaves_it() -> None:
    watch = Stopwatch(torch.device("cpu"))
    with pytest.raises(ZeroDivisionError), watch("a"):
        raise ZeroDivisionError
    with watch("b"):
        pass
    assert set(watch.seconds) == {"a", "b"}
    assert not watch._parts
