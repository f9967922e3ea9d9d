"""When trials are stopped: Ray Tune's schedulers, which know of trials of earlier attempts, too."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from cluster.sweeps.records import Options, Trial
from cluster.sweeps.trial_actor import ITERATION, SCORE, WORST

if TYPE_CHECKING:
    from cluster.sweeps.trials import TrialLedger

# Rungs lie at grace · reductionⁿ as far as any trial goes; trials end by themselves, never by their length.
_NO_END = 10**6


def _fifo(options: Options) -> TrialScheduler:
    return FIFOScheduler()


def _asha(options: Options) -> TrialScheduler:
    """Asynchronous successive halving (Li et al. 2020): at each rung the best 1 / reduction of the trials so far go on."""
    return ASHAScheduler(
        time_attr=ITERATION,
        metric=SCORE,
        mode="max",
        max_t=_NO_END,
        grace_period=options.grace,
        reduction_factor=options.reduction,
    )


def _median(options: Options) -> TrialScheduler:
    """Stops a trial whose best score is below the median of the others' running means (Golovin et al. 2017)."""
    return MedianStoppingRule(
        time_attr=ITERATION,
        metric=SCORE,
        mode="max",
        grace_period=options.grace,
        min_samples_required=3,
        # A trial that cannot be judged yet goes on, and does not make room for others.
        min_time_slice=math.inf,  # type: ignore[arg-type]
    )


STOPPING: Mapping[str, Callable[[Options], TrialScheduler]] = {"fifo": _fifo, "asha": _asha, "median": _median}


# Takes a trial's run and its result into the ledger. Schedulers call it, since Tune tells them before anybody else.
TakeReport = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class _RacingTrial:
    """A trial as far as a rule looks at one: by its run, so that it stays the same one where Tune begins it again."""

    trial_id: str


class StoppingScheduler(TrialScheduler):
    """One of Tune's stopping rules, told what trials reported before this attempt; Tune itself would forget it.

    The recipe and the baselines are what others are compared with, so they are trained to their end. Baselines are no
    part of the race. At a trial's last evaluation nothing is left to be saved: it has finished, and is not stopped.
    """

    def __init__(self, rule: TrialScheduler, ledger: "TrialLedger", take_report: TakeReport) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rule, self._ledger, self._take_report = rule, ledger, take_report
        self._racing: dict[str, Any] = {}
        for trial in ledger.trials:
            if trial.has_ended and trial.role in ("recipe", "sample"):
                self._enter(trial)

    def _enter(self, trial: Trial) -> None:
        """Add it to the race, once. What the rule decides about its past is of no account: it went on, or has ended."""
        if trial.run in self._racing:
            return
        racing: Any = _RacingTrial(trial.run)
        self._racing[trial.run] = racing
        self._rule.on_trial_add(None, racing)  # type: ignore[arg-type]
        for result in past_results(trial, self._ledger.options.selection):
            self._rule.on_trial_result(None, racing, result)  # type: ignore[arg-type]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial begins or goes on."""
        record = self._record(trial)
        if record.role != "baseline":
            self._enter(record)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on."""
        self._take_report(trial.config["run"], result)
        record = self._record(trial)
        if record.role == "baseline":
            return TrialScheduler.CONTINUE
        decision: str = self._rule.on_trial_result(tune_controller, self._racing[record.run], result)
        is_last = result[ITERATION] >= record.planned_iterations
        return TrialScheduler.CONTINUE if record.role == "recipe" or is_last else decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The trial ended by itself; its last result is one that the rule has seen."""

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """The trial failed."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """The trial is no longer wanted."""

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The first that waits."""
        return FIFOScheduler().choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        """The rule's own."""
        return self._rule.debug_string()

    def _record(self, trial: Any) -> Trial:
        return self._ledger.trial(trial.config["run"])


def past_results(trial: Trial, selection: str) -> list[dict[str, Any]]:
    """The results that the trial gave for its reports."""
    best, results = WORST, []
    for report in trial.reports:
        score = report.scores.get(selection, WORST)
        best = max(best, WORST if math.isnan(score) else score)
        results.append({ITERATION: report.iteration, SCORE: best})
    return results


def why_stopped(trial: Trial, options: Options) -> str:
    """In one line, why the scheduler stopped it: what it had reached by then."""
    best = trial.best(options.selection)
    score = "not finite" if best is None else f"{best.scores[options.selection]:.3f}"
    done = f"after {trial.iteration} of {trial.planned_iterations} evaluations"
    return f"{options.scheduler}: {options.selection} {score} {done}"
