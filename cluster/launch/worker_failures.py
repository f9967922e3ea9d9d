"""What the failure of a run under Ray Train means: whose it was, what the user can mend, and whether to try again."""

from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2.api.exceptions import TrainingFailedError

from cluster.training.agreement import OtherRankError, RankError
from cluster.training.observer import one_line
from cluster.training.stop_request import RestartRequestedError
from multitask.errors import UserError


class RunFailurePolicy(DefaultFailurePolicy):
    """Ray Train's own, but what the user can mend is not tried again: it would only be met again.

    Workers that saved and ended to be started again have not failed.
    """

    @property
    def failures(self) -> int:
        """How often workers were lost by now, hosts that were taken away among them."""
        return self._worker_group_failures + self._preemption_failures

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        """Whether to start the workers again."""
        if user_error(training_failed_error) is not None:
            return FailureDecision.RAISE
        if any(isinstance(own, RestartRequestedError) for own in _unwrapped(training_failed_error).values()):
            return FailureDecision.RETRY
        return super().make_decision(training_failed_error)


def user_error(error: BaseException) -> UserError | None:
    """What a worker, or the controller before there were any, met that the user can mend, if that ended the run."""
    failure = _first_failure(error)[1]
    return failure if isinstance(failure, UserError) else None


def describe_failure(error: BaseException) -> str:
    """One line for the failure of a run: that of the worker where it began, if it was a worker."""
    rank, failure = _first_failure(error)
    if isinstance(failure, UserError | RankError):
        return str(failure)
    return one_line(failure) if rank is None else f"worker {rank}: {one_line(failure)}"


def _first_failure(error: BaseException) -> tuple[int | None, BaseException]:
    """The rank and the failure with which it began: ranks that only miss another come last."""
    failures = _unwrapped(error)
    if not failures:
        return None, getattr(error, "controller_failure", error)
    return min(failures.items(), key=lambda item: (_order(item[1]), item[0]))


def _unwrapped(error: BaseException) -> dict[int, BaseException]:
    """Rank to what it met; empty where the error is none of workers."""
    failures: dict[int, BaseException] = getattr(error, "worker_failures", {})
    return {rank: getattr(failure, "_base_exc", failure) for rank, failure in failures.items()}


def _order(failure: BaseException) -> int:
    if isinstance(failure, OtherRankError):
        return 3
    return 0 if isinstance(failure, UserError) else 1 if isinstance(failure, RankError) else 2
