"""The sweep's driver: Ray Tune runs the trials that the book plans, until they are through, time is up or somebody says stop."""

import os
import random
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ray import tune
from ray.tune import Callback, Stopper
from ray.tune.schedulers import TrialScheduler

from cluster.launch.resources import ResourcePlan
from cluster.launch.scratch import create_scratch
from cluster.step.stopwatch import clock
from cluster.sweeps.cleanup import Releaser
from cluster.sweeps.population import Population
from cluster.sweeps.records import Sweep, Trial
from cluster.sweeps.retention import keep_best
from cluster.sweeps.schedulers import STOPPING, Hear, StoppingScheduler
from cluster.sweeps.store import STOP
from cluster.sweeps.sweep_board import create_sweep_board
from cluster.sweeps.trial_actor import TrialRunner
from cluster.sweeps.trials import Book
from cluster.sweeps.tune_searcher import BookSearcher
from cluster.training.observer import Observer, one_line
from multitask.config import RunConfig
from tune_spaces import Space

HEARTBEAT_S = 2.0
# A driver's death is no fault of its trial; more of them than this are.
MAX_DRIVER_FAILURES = 3
Watch = Callable[[Sweep], None]
# What watches a trial's run where its controller is.
Trackers = Callable[[RunConfig], Sequence[Observer]]


@dataclass(frozen=True)
class Drive:
    """What the driver is given besides the book. `bundle`: what Tune reserves for a trial's own process."""

    bundle: dict[str, float]
    concurrent: int
    space: Space
    watch: Watch


def drive(book: Book, board: Any, given: Drive) -> str | None:
    """Train trials until nothing is left to do; gives the reason where something is.

    Raises:
        UserError: the sweep's folder cannot be written.
    """
    random.seed(book.options.seed)
    sitting = _Sitting(book, Releaser(board), given.watch)
    place = create_scratch("tune")
    try:
        tuner = tune.Tuner(
            tune.with_resources(TrialRunner, tune.PlacementGroupFactory([given.bundle])),
            tune_config=tune.TuneConfig(
                search_alg=BookSearcher(book),
                scheduler=_scheduler(book, given.space, sitting.hear),
                num_samples=-1,
                max_concurrent_trials=given.concurrent,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=place,
                callbacks=[sitting],
                stop=_Halt(sitting),
                failure_config=tune.FailureConfig(max_failures=MAX_DRIVER_FAILURES),
                verbose=0,
            ),
        )
        tuner.fit()
        return sitting.close()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def create_board() -> Any:
    """The board that all trials are told of."""
    return create_sweep_board()


def shared_config(board: Any, plan: ResourcePlan, trackers: Trackers) -> dict[str, Any]:
    """What every trial's actor is told besides its config."""
    return {"board": [board], "plan": asdict(plan), "trackers": [trackers]}


def _name(trial: Any) -> str:
    name: str = trial.config["run"]
    return name


def _scheduler(book: Book, space: Space, hear: Hear) -> TrialScheduler:
    if book.options.scheduler == "pbt":
        return Population(book, space, hear)
    return StoppingScheduler(STOPPING[book.options.scheduler](book.options), book, hear)


class _Sitting(Callback):
    """One sitting of the sweep, from its start to its end or its death: what Tune tells goes into the book."""

    def __init__(self, book: Book, releaser: Releaser, watch: Watch) -> None:
        self._book, self._releaser, self._watch = book, releaser, watch
        self._began, self._before = time.time(), book.sweep.elapsed
        self._beat, self._untidy = 0.0, False
        self.halt: str | None = None
        self.error: BaseException | None = None
        self._write_state("running")

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """As the book's."""
        return str, ("sitting",)

    @property
    def elapsed(self) -> float:
        """Seconds of all sittings."""
        return self._before + time.time() - self._began

    def hear(self, run: str, result: dict[str, Any]) -> None:
        """An evaluation of trial `run` has come in."""
        self._guard(lambda: self._book.report(run, result))

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """The trial ended by itself, or the scheduler or the sweep ended it."""
        self._guard(lambda: self._complete(trial))

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """The trial's own process died too often."""
        error = trial.get_pickled_error()
        reason = f"failed {MAX_DRIVER_FAILURES + 1} times" + (f": {one_line(error)}" if error else "")
        self._guard(lambda: self._end(trial.config["run"], "failed", reason))

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        """Now and then, at least once a second."""
        self._guard(self._step)

    def close(self) -> str | None:
        """End the sitting: release what is left and write how it stands."""
        for trial in self._book.trials:
            if trial.status == "running":
                self._releaser.release(self._book.current_run(trial))
        self._releaser.wait()
        if self.error is not None:
            raise self.error
        left = any(not trial.has_ended for trial in self._book.trials)
        reason = self.halt or ("interrupted" if left else None)
        self._book.halt(reason or "interrupted")
        keep_best(self._book)
        self._write_state("stopped" if reason else "finished", reason)
        return reason

    def _guard(self, action: Callable[[], Any]) -> None:
        """Tune would end on an error with its own traceback; ours ends the sitting in order."""
        try:
            action()
        except Exception as error:
            self.error = self.error or error
            self.halt = self.halt or "error"

    def _complete(self, trial: Any) -> None:
        result, run = trial.last_result, trial.config["run"]
        if "status" in result:
            self._end(run, result["status"], result["reason"])
        elif self.halt is not None:
            self._end(run, "waiting", self.halt)
        else:
            self._end(run, "stopped", _why_stopped(self._book.trial(run), self._book))

    def _end(self, run: str, status: Any, reason: str | None) -> None:
        self._releaser.release(self._book.current_run(self._book.trial(run)))
        self._book.end(run, status, reason)
        self._untidy = True

    def _step(self) -> None:
        self._releaser.poll()
        if time.time() - self._beat < HEARTBEAT_S:
            return
        if self._untidy and self._releaser.is_idle:
            keep_best(self._book)
            self._untidy = False
        self.halt = self.halt or self._reason_to_halt()
        self._write_state("running")

    def _reason_to_halt(self) -> str | None:
        options = self._book.options
        if self._book.folder.storage.exists(STOP):
            return "stopped by concord sweep stop"
        if options.budget_seconds is not None and self.elapsed >= options.budget_seconds:
            return f"the time budget of {clock(options.budget_seconds)} is spent"
        if options.budget_tokens is not None and self._book.tokens >= options.budget_tokens:
            return f"the budget of {options.budget_tokens:,} tokens is spent"
        return None

    def _write_state(self, status: str, reason: str | None = None) -> None:
        self._beat = time.time()
        self._watch(self._book.snapshot(status, self.elapsed))
        self._book.folder.write_state(
            {
                "status": status,
                "reason": reason,
                "elapsed": round(self.elapsed, 1),
                "heartbeat": self._beat,
                "pid": os.getpid(),
                "host": socket.gethostname(),
            }
        )


class _Halt(Stopper):
    """Ends the experiment as soon as the sitting wants to."""

    def __init__(self, sitting: _Sitting) -> None:
        self._sitting = sitting

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Whether there is a reason to halt."""
        return self._sitting.halt is not None


def _why_stopped(trial: Trial, book: Book) -> str:
    best, selection = trial.best(book.options.selection), book.options.selection
    score = "not finite" if best is None else f"{best.scores[selection]:.3f}"
    done = trial.reports[-1].iteration if trial.reports else 0
    return f"{book.options.scheduler}: {selection} {score} after {done} of {trial.planned_iterations} evaluations"
