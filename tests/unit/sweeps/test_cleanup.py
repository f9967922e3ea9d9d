"""Ray's table of placement groups is read after a controller has ended, not all the time."""

from types import SimpleNamespace
from typing import Any

import pytest

import cluster.sweeps.cleanup as cleanup
from cluster.sweeps.cleanup import ABORT_TIMEOUT_S, TrialCleanup, release_dead_controller

ANSWERS, SILENT = "answers", "silent"


class Clock:
    """A second passes with each poll. `looks`: when the table was read; `killed`: the controllers that were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, orphans: dict[int, int] | None = None) -> None:
        self.now, self.looks, self.killed = 1000.0, list[float](), list[str]()
        self._orphans = orphans or {}
        monkeypatch.setattr(cleanup.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(cleanup.time, "sleep", self.pass_by)
        monkeypatch.setattr(cleanup, "orphaned_placement_groups", self._look)
        monkeypatch.setattr(cleanup, "remove_placement_group", lambda group: None)
        monkeypatch.setattr(cleanup.ray, "get", lambda answer: answer)
        monkeypatch.setattr(cleanup.ray, "wait", lambda refs, timeout: (refs if refs == [ANSWERS] else [], []))
        monkeypatch.setattr(cleanup.ray, "kill", lambda controller: self.killed.append(controller.name))

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    def _look(self) -> list[bytes]:
        self.looks.append(self.now)
        return [b"g" * 18] * self._orphans.get(len(self.looks), 0)

    def poll(self, cleaning: TrialCleanup, times: int) -> int:
        """How often the table was read meanwhile."""
        before = len(self.looks)
        for _ in range(times):
            cleaning.poll()
            self.pass_by(1.0)
        return len(self.looks) - before


def _cleanup(**controllers: str) -> TrialCleanup:
    """With trials whose controllers answer when they are asked to abort, or are silent."""

    def unregister(run: str) -> list[Any]:
        answer = controllers.get(run)
        return [SimpleNamespace(name=run, abort=SimpleNamespace(remote=lambda: answer))] if answer else []

    return TrialCleanup(SimpleNamespace(unregister=SimpleNamespace(remote=unregister)))


def test_nothing_is_looked_at_while_trials_train(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, cleaning = Clock(monkeypatch), _cleanup()
    assert clock.poll(cleaning, 500) == 0


def test_each_ended_controller_costs_a_few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, cleaning = Clock(monkeypatch), _cleanup(a=ANSWERS, b=ANSWERS)
    looks = []
    for run in ("a", "b", "none"):
        cleaning.end_training(run)
        looks.append(clock.poll(cleaning, 100))
    assert looks == [3, 3, 0]
    assert clock.killed == ["a", "b"]


def test_a_killed_controller_s_group_is_looked_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, cleaning = Clock(monkeypatch), _cleanup(a=SILENT)
    cleaning.end_training("a")
    assert clock.poll(cleaning, int(ABORT_TIMEOUT_S)) == 0
    assert not cleaning.is_idle
    assert clock.poll(cleaning, 100) == 30
    assert clock.killed == ["a"]


def test_the_group_of_a_trial_that_died_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, cleaning = Clock(monkeypatch), _cleanup()
    cleaning.expect_orphans()
    assert clock.poll(cleaning, 100) == 30


def test_a_trial_that_goes_on_waits_for_what_its_dead_controller_held(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, orphans={2: 1})
    release_dead_controller()
    assert clock.looks == [1000.0, 1001.0]
