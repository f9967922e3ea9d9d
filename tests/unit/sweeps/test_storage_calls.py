"""What a sweep asks of its storage grows with the number of its trials, not with its square."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyarrow import fs

from cluster.sweeps import driver_callback
from cluster.sweeps.records import Generation
from cluster.sweeps.trial_checkpoints import KnownFolders, keep_best_checkpoints
from cluster.sweeps.trials import TrialLedger
from tests.unit.sweeps.tiny_sweeps import open_tiny, reported


class CountingFileSystem:
    """A file system as an object store's, not this host's, that counts the calls of each of its methods."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._fs = fs.LocalFileSystem()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            self.calls[name] += 1
            return getattr(self._fs, name)(*arguments, **more)

        return call


class NoTraining:
    """In place of the cleanup of trials' processes, of which there are none."""

    is_idle = True

    def end_training(self, run: str) -> None: ...

    def poll(self) -> None: ...

    def wait(self) -> None: ...


def _counted(ledger: TrialLedger) -> CountingFileSystem:
    counting = CountingFileSystem()
    ledger.store.storage._fs = counting  # type: ignore[assignment]
    return counting


def _calls(folder: Path, trials: int) -> Counter[str]:
    """Those of a driver that trains so many trials one after the other, each of two evaluations with a checkpoint."""
    ledger = open_tiny(folder, trials=trials, keep=3)
    counting = _counted(ledger)
    callback = driver_callback.DriverCallback(ledger, NoTraining(), lambda sweep: None)  # type: ignore[arg-type]
    for number in range(trials):
        trial = ledger.next()
        assert trial is not None
        # As often a trial is among the best so far as not.
        reported(ledger, trial, 0.1, 0.01 * number if number % 2 else 0.0)
        for step in (10, 20):
            ledger.store.run(trial.run).storage.write(f"checkpoints/step-{step:08d}/manifest.json", b"{}")
        result = {"status": "finished", "reason": None}
        callback.on_trial_complete(0, [], SimpleNamespace(config={"run": trial.run}, last_result=result))
        callback.on_step_end(0, [])
    assert callback.close() is None
    left = [len(ledger.store.run(trial.run).storage.folders("checkpoints")) for trial in ledger.trials]
    assert sum(left) == 3
    return counting.calls


def test_calls_are_linear_in_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_callback, "HEARTBEAT_S", 0.0)
    few, some, many = (_calls(tmp_path / str(trials), trials) for trials in (6, 12, 24))
    for name in many:
        assert many[name] - some[name] == pytest.approx(2 * (some[name] - few[name]), abs=4), name
    # 200 trials took 20,000 listings.
    assert many.total() < 24 * 50


def test_ended_trial_is_looked_at_again_only_where_it_loses_its_checkpoint(tmp_path: Path) -> None:
    ledger, known = open_tiny(tmp_path, trials=4, keep=1), KnownFolders()
    counting = _counted(ledger)
    listings = []
    for score in (0.5, 0.4, 0.6):
        trial = ledger.next()
        assert trial is not None
        reported(ledger, trial, score)
        ledger.end(trial.run, "finished", None)
        before = counting.calls["get_file_info"]
        keep_best_checkpoints(ledger, known)
        listings.append(counting.calls["get_file_info"] - before)
    # The third takes the place of the first.
    assert listings == [1, 1, 2]


def test_heir_is_asked_once_whether_it_has_begun(tmp_path: Path) -> None:
    ledger, known = open_tiny(tmp_path, "population", scheduler="pbt"), KnownFolders()
    donor, bad = (reported(ledger, ledger.next(), 0.5) for _ in range(2))  # type: ignore[arg-type]
    ledger.exploit(bad.run, Generation(f"{bad.run}-g1", 1, 10, donor.run, {"optimizer.lr": 1e-3}))
    counting = _counted(ledger)
    keep_best_checkpoints(ledger, known)
    keep_best_checkpoints(ledger, known)
    assert counting.calls["get_file_info"] == 2
    ledger.store.run(f"{bad.run}-g1").storage.write("run.json", b"{}")
    for _ in range(3):
        keep_best_checkpoints(ledger, known)
    assert counting.calls["get_file_info"] == 3
