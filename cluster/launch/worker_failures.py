"""What the failure of a run under Ray Train means: whose it was, what the user can mend, and whether to try again."""

import re
import time
from collections import Counter
from collections.abc import Callable

from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2.api.config import FailureConfig
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from cluster.training.observer import one_line
from cluster.training.rank_failure import OtherRankError, RankError
from cluster.training.stop_request import RestartRequestedError
from multitask.errors import UserError

_NUMBERS = re.compile(r"[0-9a-f]{8,}|\d[\d.,]*")
# So often the same may be met at the same step, and no more.
ALIKE = 3
# Before the second, third, … start in a row that came no further; the last from then on.
PAUSES_S = (1.0, 4.0, 15.0)


class RunFailurePolicy(DefaultFailurePolicy):
    """Ray Train's own, but what the user can mend is not tried again: it would only be met again. Nor is what was met at the same
    step for the third time. Starts that come no further are made after longer and longer pauses. Workers that saved and ended to
    be started again have not failed.
    """

    def __init__(self, failure_config: FailureConfig, pause: Callable[[float], object] = time.sleep) -> None:
        super().__init__(failure_config)
        self._met: Counter[tuple[int, str]] = Counter()
        self._furthest, self._in_vain, self._pause = -1, 0, pause

    @property
    def failures(self) -> int:
        """How often workers were lost by now, hosts that were taken away among them."""
        return self._worker_group_failures + self._preemption_failures

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        """Whether to start the workers again."""
        if user_error(training_failed_error) is not None:
            return FailureDecision.RAISE
        if restart_reason(training_failed_error) is not None:
            return FailureDecision.RETRY
        if self._is_met_again(training_failed_error):
            return FailureDecision.RAISE
        decision = super().make_decision(training_failed_error)
        if decision == FailureDecision.RETRY and self._in_vain:
            self._pause(PAUSES_S[min(self._in_vain, len(PAUSES_S)) - 1])
        return decision

    def _is_met_again(self, error: TrainingFailedError) -> bool:
        """Count the failure; of the third of a kind, the error says that it is."""
        step = _failed_step(error)
        if step is None:
            return False
        self._in_vain = 0 if step > self._furthest else self._in_vain + 1
        self._furthest = max(step, self._furthest)
        rank, failure = _first_failure(error)
        kind = (step, _NUMBERS.sub("#", getattr(failure, "cause", one_line(failure))))
        self._met[kind] += 1
        if self._met[kind] < ALIKE:
            return False
        if isinstance(error, WorkerGroupError) and rank is not None:
            again = f"{describe_failure(error)}; met at step {step} for the {ALIKE}rd time, so it is not tried again"
            of_cluster = getattr(failure, "of_cluster", not isinstance(failure, RankError))
            error.worker_failures[rank] = RepeatedFailureError(again, of_cluster)
        return True


class RepeatedFailureError(RuntimeError):
    """What was met again and again at one step; says the whole line. `of_cluster`: as in `RankError`."""

    def __init__(self, line: str, of_cluster: bool) -> None:
        super().__init__(line, of_cluster)
        self.line, self.of_cluster = line, of_cluster

    def __str__(self) -> str:
        return self.line


def user_error(error: BaseException) -> UserError | None:
    """What a worker, or the controller before there were any, met that the user can mend, if that ended the run."""
    failure = _first_failure(error)[1]
    return failure if isinstance(failure, UserError) else None


def restart_reason(error: BaseException) -> str | None:
    """Why the workers saved and ended to be started again; None where they did not."""
    return next((str(own) for own in _unwrapped(error).values() if isinstance(own, RestartRequestedError)), None)


def describe_failure(error: BaseException) -> str:
    """One line for the failure of a run: that of the worker where it began, if it was a worker."""
    rank, failure = _first_failure(error)
    if isinstance(failure, UserError | RankError | RepeatedFailureError):
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


def _failed_step(error: BaseException) -> int | None:
    """The step that was being trained, as far as a rank could still tell."""
    steps = [getattr(failure, "step", None) for failure in _unwrapped(error).values()]
    return max((step for step in steps if isinstance(step, int)), default=None)


def _order(failure: BaseException) -> int:
    if isinstance(failure, RepeatedFailureError):
        return -1
    if isinstance(failure, OtherRankError):
        return 3
    return 0 if isinstance(failure, UserError) else 1 if isinstance(failure, RankError) else 2
