"""What the cluster ends is tried again and is no evidence; what fails everywhere stops the sweep."""

from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, NodeDiedError, RayTaskError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError, WorkerHealthCheckTimeoutError

from cluster.sweeps.records import Trial
from cluster.sweeps.trial_failures import TrialFailures, driver_failure, failure, kind_of
from cluster.sweeps.trials import TrialLedger
from cluster.training.rank_failure import OtherRankError, RankError
from tests.unit.sweeps.tiny_sweeps import open_tiny, reported

MISSES = OtherRankError(1, "b", "not heard of for 60 s")
BY_CLUSTER: dict[str, Any] = {"reason": "ActorDiedError: it died", "cause": "cluster", "traceback": "Traceback …"}


def _workers(*errors: Exception) -> WorkerGroupError:
    return WorkerGroupError("[Rank 0 Error Snippet]: …", dict(enumerate(errors)))


@pytest.mark.parametrize(
    ("error", "cause", "reason"),
    [
        (ActorDiedError(), "cluster", "ActorDiedError: "),
        (NodeDiedError("a node"), "cluster", "NodeDiedError: "),
        (OSError(28, "No space left on device"), "cluster", "OSError: [Errno 28] No space left on device"),
        (_workers(ModuleNotFoundError("No module named 'x'")), "cluster", "ModuleNotFoundError: No module named 'x'"),
        # The others only lose their connection to the one that died.
        (_workers(RuntimeError("Connection closed by peer"), ActorDiedError()), "cluster", "ActorDiedError: "),
        (_workers(WorkerHealthCheckTimeoutError("silent for 600 s")), "cluster", "WorkerHealthCheckTimeoutError: silent"),
        (ControllerError(WorkerGroupStartupTimeoutError(2)), "cluster", "WorkerGroupStartupTimeoutError: "),
        (_workers(ValueError("a bad number"), RuntimeError("Connection closed")), "settings", "ValueError: a bad number"),
        (_workers(MemoryError("CUDA out of memory")), "settings", "MemoryError: CUDA out of memory"),
        (RayTaskError("run", "Traceback …", ZeroDivisionError("by zero")), "settings", "ZeroDivisionError: by zero"),
        (KeyError("lr"), "settings", "KeyError: 'lr'"),
        (_workers(MISSES, RankError(1, "b", "ValueError: bad")), "settings", "rank 1 on b: ValueError: bad"),
        (_workers(RankError(0, "a", "OSError: full", True), MISSES), "cluster", "rank 0 on a: OSError: full"),
        (_workers(MISSES, ActorDiedError()), "cluster", "ActorDiedError: "),
        (_workers(MISSES), "cluster", "rank 1 on b: not heard of"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)  # fmt: skip
def test_cause_is_what_was_raised_where_the_work_is_done(error: Exception, cause: str, reason: str) -> None:
    found = failure(error)
    assert (found["status"], found["cause"]) == ("failed", cause)
    assert found["reason"].startswith(reason)
    assert type(error).__name__ in found["traceback"]


def test_death_of_a_trial_s_own_process_is_the_cluster_s() -> None:
    known = driver_failure(ValueError("a bad number"), 4)
    assert (known["cause"], known["reason"]) == ("cluster", "failed 4 times: ValueError: a bad number")
    assert "a bad number" in known["traceback"]
    assert driver_failure(None, 4)["reason"] == "failed 4 times"


def test_reasons_are_alike_but_for_numbers_ids_and_the_trial_s_name() -> None:
    one = kind_of("worker 0: OSError: /runs/s-001/config.yaml, actor 5f3a09bc77", "s-001")
    assert one == kind_of("worker 1: OSError: /runs/s-014/config.yaml, actor 0123456789ab", "s-014")
    assert one != kind_of("worker 1: OSError: /runs/s-014/data.csv, actor 0123456789ab", "s-014")


def _next(ledger: TrialLedger) -> Trial:
    trial = ledger.next()
    assert trial is not None
    return trial


def test_trial_that_the_cluster_ended_is_tried_again_after_the_others(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, trials=2)
    failures = TrialFailures(ledger)
    first = _next(ledger)
    failures.take(first.run, BY_CLUSTER, again=True)
    waiting = ledger.trial(first.run)
    assert (waiting.status, waiting.reason, waiting.cause) == ("waiting", "ActorDiedError: it died", "cluster")
    second = _next(ledger)
    assert second.run != first.run
    assert not ledger.is_through
    ledger.end(second.run, "finished", None)
    for attempt in (2, 3):
        again = _next(ledger)
        assert (again.run, again.attempts, again.cause, again.reason) == (first.run, attempt, None, None)
        failures.take(first.run, BY_CLUSTER, again=True)
    failed = ledger.trial(first.run)
    assert (failed.status, failed.cause, ledger.next(), ledger.is_through) == ("failed", "cluster", None, True)
    # Another attempt at the sweep may find a cluster that works.
    ledger = open_tiny(tmp_path, trials=2)
    assert (_next(ledger).run, ledger.trial(first.run).interruptions) == (first.run, 0)


def test_traceback_of_each_attempt_stays_in_the_trial_s_folder(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, trials=1)
    failures = TrialFailures(ledger)
    for number in (1, 2):
        trial = _next(ledger)
        failures.take(trial.run, BY_CLUSTER | {"traceback": f"Traceback of attempt {number}"}, again=True)
        assert ledger.store.traceback(ledger.trial(trial.run)) == f"Traceback of attempt {number}"
    files = sorted(path.name for path in (tmp_path / "s/trials/s-000").glob("traceback*"))
    assert files == ["traceback-1.txt", "traceback-2.txt"]


def _fail_alike(ledger: TrialLedger, cause: str, times: int) -> list[str | None]:
    failures = TrialFailures(ledger)
    found = []
    for number in range(times):
        failed = BY_CLUSTER | {"cause": cause, "reason": f"worker 0: it died after {number} s"}
        found.append(failures.take(_next(ledger).run, failed, again=True))
    return found


def test_three_trials_that_the_cluster_ended_alike_stop_the_sweep(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path)
    reported(ledger, _next(ledger), 0.5)
    why = "3 trials in a row failed alike: worker 0: it died after 2 s"
    assert _fail_alike(ledger, "cluster", 3) == [None, None, why]


def test_settings_that_fail_alike_stop_the_sweep_only_where_nothing_ever_worked(tmp_path: Path) -> None:
    for name in ("none", "some"):
        (tmp_path / name).mkdir()
    ledger = open_tiny(tmp_path / "some")
    reported(ledger, _next(ledger), 0.5)
    assert _fail_alike(ledger, "settings", 4) == [None] * 4
    assert {trial.cause for trial in ledger.trials} == {None, "settings"}
    ledger = open_tiny(tmp_path / "none")
    assert _fail_alike(ledger, "settings", 3)[2] is not None
    # Then it is no fault of theirs, and they are tried again when the sweep goes on.
    assert [(trial.status, trial.cause) for trial in ledger.trials] == [("failed", "cluster")] * 3
    assert _next(open_tiny(tmp_path / "none")).number == 0


def test_one_trial_that_fails_again_and_again_is_no_row_of_several(tmp_path: Path) -> None:
    failures = TrialFailures(ledger := open_tiny(tmp_path, trials=1))
    assert [failures.take(_next(ledger).run, BY_CLUSTER, again=True) for _ in range(3)] == [None] * 3


def test_a_trial_that_is_evaluated_ends_the_row(tmp_path: Path) -> None:
    failures = TrialFailures(ledger := open_tiny(tmp_path))
    trials = [_next(ledger) for _ in range(5)]
    for number, trial in enumerate(trials):
        assert failures.take(trial.run, BY_CLUSTER, again=True) is None
        if number == 1:
            failures.none_now()
        if number == 3:
            other = BY_CLUSTER | {"reason": "OSError: no space"}
            assert failures.take(trial.run, other, again=True) is None
