"""What Ray Tune tells of trials goes into the ledger, until they are through, time is up or somebody says stop."""

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune import Callback, Stopper

from cluster.step.clock import clock
from cluster.sweeps.cleanup import TrialCleanup
from cluster.sweeps.driver_settings import Watch
from cluster.sweeps.schedulers import why_stopped
from cluster.sweeps.store import STOP
from cluster.sweeps.trial_checkpoints import KnownFolders, keep_best_checkpoints
from cluster.sweeps.trial_failures import TrialFailures, driver_failure
from cluster.sweeps.trials import TrialLedger

HEARTBEAT_S = 2.0
# A driver's death is no fault of its trial; more of them than this are.
MAX_DRIVER_FAILURES = 3


class DriverCallback(Callback):
    """What Tune tells goes into the ledger. One object is one attempt at the sweep: from the driver's start to its end or death."""

    def __init__(self, ledger: TrialLedger, cleanup: TrialCleanup, watch: Watch) -> None:
        self._ledger, self._cleanup, self._watch = ledger, cleanup, watch
        self._began, self._before = time.time(), ledger.sweep.elapsed
        self._beat, self._untidy, self._known_folders = 0.0, False, KnownFolders()
        self._failures = TrialFailures(ledger)
        self.halt: str | None = None
        self.error: BaseException | None = None
        self._write_state("running")

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Not pickled, as the ledger."""
        return str, ("driver callback",)

    @property
    def elapsed(self) -> float:
        """Seconds of all attempts."""
        return self._before + time.time() - self._began

    def take_report(self, run: str, result: dict[str, Any]) -> None:
        """An evaluation of trial `run` has come in."""
        self._guard(lambda: self._ledger.report(run, result))
        self._failures.none_now()

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """The trial ended by itself, or the scheduler or the sweep ended it."""
        self._guard(lambda: self._complete(trial))

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """The trial's own process died, its controller with it; Tune starts it again."""
        self._cleanup.expect_orphans()

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """The trial's own process died too often."""
        self._cleanup.expect_orphans()
        failed = driver_failure(trial.get_pickled_error(), MAX_DRIVER_FAILURES + 1)
        self._guard(lambda: self._fail(trial.config["run"], failed, again=False))

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        """Now and then, at least once a second."""
        self._guard(self._step)

    def close(self) -> str | None:
        """End the attempt: release what is left and write how it stands."""
        for trial in self._ledger.trials:
            if trial.status == "running":
                self._cleanup.end_training(trial.current_run)
        self._cleanup.wait()
        if self.error is not None:
            raise self.error
        left = any(not trial.has_ended for trial in self._ledger.trials)
        reason = self.halt or ("interrupted" if left else None)
        self._ledger.halt(reason or "interrupted")
        keep_best_checkpoints(self._ledger)
        self._write_state("stopped" if reason else "finished", reason)
        return reason

    def _guard(self, action: Callable[[], Any]) -> None:
        """Tune would end on an error with its own traceback; ours ends the attempt in order."""
        try:
            action()
        except Exception as error:
            self.error = self.error or error
            self.halt = self.halt or "error"

    def _complete(self, trial: Any) -> None:
        result, run = trial.last_result, trial.config["run"]
        if result.get("status") == "failed":
            self._fail(run, result, again=self.halt is None)
        elif "status" in result:
            self._end(run, result["status"], result["reason"])
            self._failures.none_now()
        elif self.halt is not None:
            self._end(run, "waiting", self.halt)
        else:
            self._end(run, "stopped", why_stopped(self._ledger.trial(run), self._ledger.options))

    def _fail(self, run: str, failed: Mapping[str, Any], *, again: bool) -> None:
        """The trial has failed; `again`: it may be tried another time."""
        self._cleanup.end_training(self._ledger.trial(run).current_run)
        why = self._failures.take(run, failed, again=again)
        self.halt = self.halt or why
        self._untidy = True

    def _end(self, run: str, status: Any, reason: str | None) -> None:
        self._cleanup.end_training(self._ledger.trial(run).current_run)
        self._ledger.end(run, status, reason)
        self._untidy = True

    def _step(self) -> None:
        self._cleanup.poll()
        if time.time() - self._beat < HEARTBEAT_S:
            return
        if self._untidy and self._cleanup.is_idle:
            keep_best_checkpoints(self._ledger, self._known_folders)
            self._untidy = False
        self.halt = self.halt or self._reason_to_halt()
        self._write_state("running")

    def _reason_to_halt(self) -> str | None:
        options = self._ledger.options
        if self._ledger.store.storage.exists(STOP):
            return "stopped by concord sweep stop"
        if options.budget_seconds is not None and self.elapsed >= options.budget_seconds:
            return f"the time budget of {clock(options.budget_seconds)} is spent"
        if options.budget_tokens is not None and self._ledger.tokens >= options.budget_tokens:
            return f"the budget of {options.budget_tokens:,} tokens is spent"
        return None

    def _write_state(self, status: str, reason: str | None = None) -> None:
        self._beat = time.time()
        self._watch(self._ledger.snapshot(status, self.elapsed))
        self._ledger.store.write_state(
            {
                "status": status,
                "reason": reason,
                "elapsed": round(self.elapsed, 1),
                "heartbeat": self._beat,
                "pid": os.getpid(),
                "host": socket.gethostname(),
            }
        )


class Halt(Stopper):
    """Ends the experiment as soon as the attempt wants to."""

    def __init__(self, callback: DriverCallback) -> None:
        self._callback = callback

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Whether there is a reason to halt."""
        return self._callback.halt is not None
