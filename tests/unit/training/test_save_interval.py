"""How often a run saves by itself."""

from types import SimpleNamespace
from typing import Any

import pytest

from cluster.training import save_interval
from cluster.training.save_interval import AutoSave, best_interval, mean_time_between_failures
from multitask.config.messages import parse_values
from multitask.config.training import TrainingConfig
from multitask.errors import UserError


def test_interval_loses_the_least() -> None:
    """The share of time lost, δ/T for saving and T/(2·M) for what is trained again, at T and beside it."""

    def lost(interval: float) -> float:
        return 5 / interval + interval / (2 * 3600)

    best = best_interval(5, 3600)
    assert best == pytest.approx(189.7, abs=0.1)
    assert lost(best) < min(lost(0.9 * best), lost(1.1 * best))


def test_time_between_failures_is_what_was_seen() -> None:
    assert mean_time_between_failures(60, 0) == 4 * 3600
    assert mean_time_between_failures(10 * 3600, 0) == 10 * 3600
    assert mean_time_between_failures(600, 10) == 60


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(save_interval, "time", clock := Clock())
    return clock


def _steps_between_saves(clock: Clock, failures: int, held_s: float, written_s: float, saves: int) -> list[int]:
    """Of a run of half-second steps."""
    ranks = SimpleNamespace(from_rank_zero=lambda action: action())
    session: Any = SimpleNamespace(began=clock.now, failures=failures, agreement=ranks)
    auto, last, found = AutoSave(session), 40, []
    for step in range(last + 1, 100_000):
        clock.now += 0.5
        if auto.is_due(step):
            auto.saved(step, held_s, written_s)
            found.append(step - last)
            last = step
            if len(found) == saves:
                break
    return found


def test_first_save_measures_and_the_interval_grows_to_the_best(clock: Clock) -> None:
    first, second, *_, last = _steps_between_saves(clock, 0, held_s=0.5, written_s=2, saves=8)
    assert first == 10
    assert second == 40  # At most fourfold.
    assert last == pytest.approx(best_interval(0.5, 4 * 3600) / 0.5, rel=0.1)


def test_many_failures_and_cheap_saves_make_it_short(clock: Clock) -> None:
    *_, calm = _steps_between_saves(clock, 0, held_s=0.01, written_s=0, saves=6)
    *_, rough = _steps_between_saves(clock, 30, held_s=0.01, written_s=0, saves=6)
    assert rough < calm / 5


def test_no_save_is_due_before_the_last_one_is_written(clock: Clock) -> None:
    *_, last = _steps_between_saves(clock, 30, held_s=0.001, written_s=60, saves=6)
    assert last == 120


@pytest.mark.parametrize("asked", [0, "often", True, 2.5])
def test_what_is_no_interval_is_refused(asked: object) -> None:
    with pytest.raises(UserError, match=r"save_every: must be a number of steps, 1 or more, or auto, got"):
        parse_values(TrainingConfig, {"save_every": asked}, "recipe")
