"""What a trial failed of, its settings or the cluster, and when failures are no longer those of single trials."""

import re
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cluster.sweeps.records import Cause
from cluster.training.observer import one_line
from cluster.training.rank_failure import OtherRankError, RankError
from multitask.redaction import redacted

if TYPE_CHECKING:
    from cluster.sweeps.trials import TrialLedger

# So many trials that fail alike, one after another, and the sweep stops.
ALIKE = 3
# Where in a step it was, too.
_VARYING = re.compile(r" \(step \d[^)]*\)|[0-9a-f]{8,}|\d[\d.,]*")


def failure(error: BaseException) -> dict[str, Any]:
    """The end of a trial whose training raised `error`: `status`, `reason`, `cause` and `traceback`."""
    from ray.exceptions import RayError
    from ray.train.v2._internal.exceptions import RayTrainError

    every = _roots(error)
    # A rank that only misses another says nothing of why that one failed.
    roots = [root for root in every if not isinstance(root, OtherRankError)] or every
    # Processes and nodes that die, resources that do not come, storage, and packages that a node lacks.
    kinds = (RayError, RayTrainError, OSError, ImportError, OtherRankError)
    of_cluster = [root for root in roots if isinstance(root, kinds) or getattr(root, "of_cluster", False)]
    return {
        "status": "failed",
        "reason": str(first) if isinstance(first := (of_cluster or roots)[0], RankError) else one_line(first),
        "cause": "cluster" if of_cluster else "settings",
        "traceback": redacted("".join(traceback.format_exception(error))),
    }


def driver_failure(error: BaseException | None, times: int) -> dict[str, Any]:
    """As `failure`, of a trial whose own process has died `times` times, of `error` as far as is known."""
    known = {"traceback": ""} if error is None else failure(error)
    reason = f"failed {times} times" + (f": {known['reason']}" if "reason" in known else "")
    return {**known, "status": "failed", "reason": reason, "cause": "cluster"}


def _roots(error: BaseException) -> list[BaseException]:
    """What was raised where the work is done, under what Ray wraps it in."""
    from ray.exceptions import RayTaskError
    from ray.train import ControllerError, WorkerGroupError

    if isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        return _roots(error.cause)
    if isinstance(error, WorkerGroupError) and error.worker_failures:
        return [root for _, own in sorted(error.worker_failures.items()) for root in _roots(own)]
    if isinstance(error, ControllerError):
        return _roots(error.controller_failure)
    return [getattr(error, "_base_exc", error)]


def kind_of(reason: str, run: str = "") -> str:
    """The reason without what differs from trial to trial: numbers, ids and the name of `run`."""
    return _VARYING.sub("#", reason.replace(run, "#") if run else reason)


class TrialFailures:
    """Takes failures into the ledger, and tells those of single trials from those of all: the latter stop the sweep."""

    def __init__(self, ledger: "TrialLedger") -> None:
        self._ledger = ledger
        self._kind: tuple[Cause, str] | None = None
        self._alike: list[str] = []

    def none_now(self) -> None:
        """A trial was evaluated, or ended well: those that failed before are no row any more."""
        self._kind, self._alike = None, []

    def take(self, run: str, failed: Mapping[str, Any], *, again: bool) -> str | None:
        """Trial `run` has `failed` as `failure` says, and may be tried `again`; gives why the sweep must stop, if it must."""
        reason, cause = failed["reason"] or "no reason is known", failed["cause"]
        if again and cause == "cluster":
            trial = self._ledger.interrupted(run, reason)
        else:
            trial = self._ledger.end(run, "failed", reason, cause)
        if text := failed.get("traceback"):
            self._ledger.store.write_traceback(trial, text)
        kind = (cause, kind_of(reason, run))
        if kind != self._kind:
            self._kind, self._alike = kind, []
        if run not in self._alike:
            self._alike.append(run)
        return self._why_to_stop(reason, cause)

    def _why_to_stop(self, reason: str, cause: Cause) -> str | None:
        """Where the cluster ends every trial, or nothing works at all.

        Settings alone may fail alike, as too high rates do: they count only where no trial of the sweep was ever evaluated.
        """
        hopeless = cause == "cluster" or not any(trial.reports for trial in self._ledger.trials)
        if len(self._alike) < ALIKE or not hopeless:
            return None
        for run in self._alike:
            self._ledger.blame_cluster(run)
        return f"{len(self._alike)} trials in a row failed alike: {reason}"
