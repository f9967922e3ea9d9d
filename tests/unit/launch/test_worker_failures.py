"""Whose failure ended a run, and whether it is tried again."""

import pickle

import pytest
from ray.train import FailureConfig
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2.api.exceptions import WorkerGroupError

from cluster.launch.worker_failures import PAUSES_S, RunFailurePolicy, describe_failure, user_error
from cluster.training.rank_failure import OtherRankError, RankError
from cluster.training.stop_request import PREEMPTION, RestartRequestedError
from multitask.errors import UserError

MISSING = OtherRankError(0, "a", "RuntimeError: Connection closed by peer")
BROKEN = RankError(2, "b", "OSError: the disk is gone")
DEAD = RuntimeError("The actor died unexpectedly")
MENDABLE = UserError("data: row 3 is bad")


def _failed(*failures: Exception) -> WorkerGroupError:
    """The failure of a run as it comes from Ray's controller, one for each rank."""
    told = {rank: UserExceptionWithTraceback(failure, "Traceback …") for rank, failure in enumerate(failures)}
    error = WorkerGroupError("workers failed", told)
    again: WorkerGroupError = pickle.loads(pickle.dumps(error))
    return again


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        ((MISSING, MISSING, BROKEN), "rank 2 on b: OSError: the disk is gone"),
        ((MISSING, DEAD, MISSING), "worker 1: RuntimeError: The actor died unexpectedly"),
        ((BROKEN, MENDABLE), "data: row 3 is bad"),
        ((MISSING,), "rank 0 on a: RuntimeError: Connection closed by peer"),
    ],
)
def test_line_names_the_rank_where_it_began(failures: tuple[Exception, ...], told: str) -> None:
    assert describe_failure(_failed(*failures)) == told


def test_what_the_user_can_mend_is_not_tried_again() -> None:
    policy = RunFailurePolicy(FailureConfig(max_failures=2))
    assert str(user_error(_failed(MISSING, MENDABLE))) == str(MENDABLE)
    assert policy.make_decision(_failed(MISSING, MENDABLE)) == FailureDecision.RAISE
    assert user_error(_failed(MISSING, BROKEN)) is None
    tries = [policy.make_decision(_failed(MISSING, BROKEN)) for _ in range(3)]
    assert tries == [FailureDecision.RETRY, FailureDecision.RETRY, FailureDecision.RAISE]


def test_workers_that_saved_to_be_started_again_have_not_failed() -> None:
    policy = RunFailurePolicy(FailureConfig(max_failures=0))
    asked = RestartRequestedError(PREEMPTION)
    # The host may be gone before the others have ended.
    tries = [policy.make_decision(_failed(*failures)) for failures in ((asked, asked), (asked, DEAD), (asked, MISSING))]
    assert tries == [FailureDecision.RETRY] * 3
    assert policy.failures == 0
    assert policy.make_decision(_failed(BROKEN, MISSING)) == FailureDecision.RAISE
    assert policy.failures == 1


def _at(step: int, cause: str) -> RankError:
    return RankError(1, "b", cause, False, step, f"step {step}, data")


def test_the_same_failure_at_the_same_step_three_times_ends_the_run_with_the_reason() -> None:
    policy = RunFailurePolicy(FailureConfig(max_failures=9), pause=lambda seconds: None)
    others = [_at(7, "OSError: other"), _at(8, "ValueError: row 4"), _at(7, "ValueError: row 5")]
    for failure in (_at(7, "ValueError: row 1"), _at(7, "ValueError: row 23"), *others[:2]):
        assert policy.make_decision(_failed(MISSING, failure)) == FailureDecision.RETRY
    last = _failed(MISSING, others[2])
    assert policy.make_decision(last) == FailureDecision.RAISE
    told = "rank 1 on b (step 7, data): ValueError: row 5; met at step 7 for the 3rd time, so it is not tried again"
    assert describe_failure(last) == told
    assert describe_failure(pickle.loads(pickle.dumps(last))) == told


def test_starts_that_come_no_further_are_made_after_longer_and_longer_pauses() -> None:
    paused: list[float] = []
    policy = RunFailurePolicy(FailureConfig(max_failures=9), pause=paused.append)
    for number, step in enumerate((5, 9, 9, 8, 9, 9, 12, 12)):
        assert policy.make_decision(_failed(_at(step, f"OSError: {'abcdefgh'[number]}"))) == FailureDecision.RETRY
    assert paused == [*PAUSES_S, PAUSES_S[-1], PAUSES_S[0]]
