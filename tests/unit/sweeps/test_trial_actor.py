"""A trial's actor without Ray: how its last result comes about."""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.train import WorkerGroupError

from cluster.launch.resources import ResourcePlan
from cluster.storage.lease import Launch
from cluster.sweeps import trial_actor
from cluster.sweeps.trial_actor import TrialRunner
from tests.unit.sweeps.recipes import recipe


class _Remote:
    """A remote method that is called here."""

    def __init__(self, action: Callable[..., Any]) -> None:
        self.remote = action


class _Training:
    """What stands for a Train run: it goes on until it is aborted, or raises what it is given, one after another."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.begun, self.aborted = list(errors), 0, threading.Event()

    def __call__(
        self,
        run: Any,
        plan: Any,
        started: Any,
        observers: Any,
        entered: Callable[[Any], None],
        launch: Any,
        **others: Any,
    ) -> Any:
        assert others == {"acts_on_scores": True}, "a score is told when its checkpoint is there"

        def fit() -> Any:
            self.begun += 1
            entered(SimpleNamespace(abort=_Remote(self.aborted.set)))
            if self.errors:
                raise self.errors.pop(0)
            self.aborted.wait(30)
            raise RuntimeError("aborted")

        return SimpleNamespace(fit=fit)


def _runner(training: _Training, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> TrialRunner:
    board = SimpleNamespace(
        post=_Remote(lambda run, event, values: None),
        take_events=_Remote(lambda run, wait_s: time.sleep(min(wait_s, 0.05)) or []),
        register=_Remote(lambda run, controller: None),
        unregister=_Remote(lambda run: []),
        is_registered=_Remote(lambda run: True),
    )
    monkeypatch.setattr(trial_actor.ray, "get", lambda value: value)
    monkeypatch.setattr(trial_actor, "release_dead_controller", lambda: None)
    monkeypatch.setattr(trial_actor, "RunTrainer", training)
    config = {"board": [board], "trackers": [lambda run: []], "selection": "dev/mean", "donor": None, "best": None}
    config["launch"] = Launch.here().to_dict()
    config |= {"plan": asdict(ResourcePlan(1, False, {"CPU": 1.0})), "started": 0.0, "limit": None, "seconds": 0.0}
    config["config"] = recipe(cluster={"storage": str(folder)}).to_dict()
    runner: TrialRunner = object.__new__(TrialRunner)
    runner.setup(config | changes)
    return runner


def test_trial_over_its_limit_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = _Training()
    # It ran for 599.9 of its 600 seconds in earlier attempts.
    result = _runner(training, tmp_path, monkeypatch, limit=600.0, seconds=599.9).step()
    assert training.aborted.is_set()
    assert (result["status"], result["done"]) == ("stopped", True)
    assert result["reason"] == "over the limit of 10:00 for one trial"


def test_failure_is_told_with_its_cause_and_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = WorkerGroupError("Traceback of the worker", {0: ValueError("a bad number")})
    result = _runner(_Training(error), tmp_path, monkeypatch).step()
    assert (result["status"], result["cause"], result["reason"]) == ("failed", "settings", "ValueError: a bad number")
    assert "Traceback of the worker" in result["traceback"]


def test_controllers_that_die_one_after_another_are_the_cluster_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = _Training(*[ActorDiedError() for _ in range(4)])
    result = _runner(training, tmp_path, monkeypatch).step()
    assert (training.begun, result["status"], result["cause"]) == (4, "failed", "cluster")
