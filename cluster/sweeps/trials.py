"""The ledger of a sweep: which trials there are, how far they are, and which comes next. The driver alone writes it."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cluster.storage.run_folder import RunFolder
from cluster.sweeps.plan import (
    Budget,
    baseline_budget,
    baseline_config,
    measure_budget,
    plain_sample,
    planned,
    run_name,
    trial_config,
)
from cluster.sweeps.records import AFTER_SEARCH, Cause, Generation, Report, Role, Status, Sweep, Trial
from cluster.sweeps.run_history import with_history, with_start
from cluster.sweeps.samplers import Sampler, create_sampler
from cluster.sweeps.search import Search
from cluster.sweeps.store import TRIALS, SweepStore
from multitask.config import RunConfig
from multitask.score_names import is_dev_score

if TYPE_CHECKING:
    from multitask.data import Tables

MAX_RETRIES = 2  # Times that the cluster may end a trial; once more, and it has failed.
_ORDER: dict[Role, int] = {"recipe": 0, "baseline": 1}


class TrialLedger:
    """All trials of a sweep, in memory and, at once, in its folder."""

    keeps_all = False  # Whether every trial's best checkpoint stays.

    def __init__(
        self,
        store: SweepStore,
        sweep: Sweep,
        search: Search,
        sampler: Sampler,
        budget: Budget,
        shared: Mapping[str, Any],
    ) -> None:
        """`shared`: what every trial's actor is told besides its config."""
        self.store, self.sweep, self.options, self._shared = store, sweep, sweep.options, shared
        self._base, self._space, self._sampler, self._budget = search.base, search.space, sampler, budget
        self._trials = {trial.run: trial for trial in sweep.trials if trial.role not in AFTER_SEARCH}
        self._counted_until: dict[str, float] = {}
        self._is_exhausted = False

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Tune pickles all that it is given, for a way to go on that is not ours: the ledger stays in its process."""
        return str, ("ledger",)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, by number and repeat."""
        return tuple(sorted(self._trials.values(), key=lambda trial: (trial.number, trial.repeat)))

    def snapshot(self, status: str, elapsed: float) -> Sweep:
        """The sweep as it stands."""
        return replace(self.sweep, trials=self.trials, status=status, elapsed=elapsed)  # type: ignore[arg-type]

    @property
    def tokens(self) -> int:
        """Tokens that all trials have trained."""
        return sum(trial.tokens for trial in self._trials.values())

    def trial(self, run: str) -> Trial:
        """The trial called `run`."""
        return self._trials[run]

    def prepare(self) -> None:
        """Plan what is known beforehand, and take in what trials of an earlier attempt reached without the driver."""
        self._add("recipe", 0, self._space.sample_of(self._base) or {})
        if self.options.baselines:
            for place, task in enumerate(tasks := self._base.selected_tasks):
                self._add("baseline", place - len(tasks), {"task": task})
        points = self._space.first[: max(0, self.options.trials - 1 - len(self.sweep.tries))]
        for sample in map(plain_sample, (*points, *self.sweep.tries)):
            known = [trial.number for trial in self.trials if trial.role == "sample" and trial.sample == sample]
            self._add("sample", known[0] if known else 1 + max(trial.number for trial in self.trials), sample)
        self._recover()

    def _recover(self) -> None:
        """Take in what trials of an earlier attempt reached without the driver; those that have not ended wait."""
        for trial in self.trials:
            if not trial.has_ended or trial.cause == "cluster":
                folder = self.run_folder(trial)
                self._change(replace(with_history(trial, folder), status="waiting", interruptions=0))
                if (folder.result() or {}).get("status") == "finished":
                    self.end(trial.run, "finished", None)

    def next(self) -> Trial | None:
        """The next trial to start, now running; None where there is none by now.

        The recipe comes first, then the baselines: a budget may end the sweep, and others are compared with them. What the
        cluster has interrupted comes last: it may have recovered by then.
        """
        waiting = [trial for trial in self.trials if trial.status == "waiting"]
        waiting.sort(key=lambda trial: (trial.interruptions, _ORDER.get(trial.role, len(_ORDER))))
        trial = waiting[0] if waiting and not waiting[0].interruptions else self._sample_next()
        if trial is None and not waiting:
            return None
        trial, now = trial or waiting[0], time.time()
        self._counted_until[trial.run] = now
        trial = replace(trial, status="running", reason=None, cause=None, attempts=trial.attempts + 1)
        return self._change(replace(trial, started=trial.started or now))

    @property
    def is_through(self) -> bool:
        """Whether no trial runs, so that none can come to be tried again."""
        return not any(trial.status == "running" for trial in self._trials.values())

    def config(self, trial: Trial) -> RunConfig:
        """The config that `trial` trains by now."""
        sample, budget = trial.sample, self._budget
        if trial.role == "baseline":
            config = baseline_config(self._base, sample["task"])
            budget = baseline_budget(self._base, budget, sample["task"])
        elif trial.role == "recipe" and not trial.generations:
            config = self._base
        else:
            config = self.sampled_config(trial.current_sample)
        made = trial_config(config, trial, self.sweep.name, self.store.storage.place(TRIALS), self.options, budget)
        tracking = made.tracking.model_copy(update={"group": self.sweep.group})
        return made.model_copy(update={"name": trial.current_run, "tracking": tracking})

    def sampled_config(self, sample: Mapping[str, Any]) -> RunConfig:
        """What the space makes of the recipe by `sample`.

        Raises:
            UserError: the recipe cannot be trained so.
        """
        return self._space.config(self._base, sample)

    def tune_config(self, trial: Trial) -> dict[str, Any]:
        """What Tune hands to the trial's actor."""
        best, donor = trial.best(self.options.selection), None
        if trial.generations:
            previous = [trial.run, *(generation.run for generation in trial.generations)][-2]
            donor = {"donor": trial.generations[-1].donor, "previous": previous}
        return {
            **self._shared,
            "run": trial.run,
            "generation": len(trial.generations),
            "config": self.config(trial).to_dict(),
            "selection": "dev/mean" if trial.role == "baseline" else self.options.selection,
            "best": best.scores[self.options.selection] if best else None,
            "donor": donor,
            "started": time.time(),
            "limit": self.options.trial_seconds,
            "seconds": trial.seconds,
        }

    def report(self, run: str, values: Mapping[str, Any]) -> Trial:
        """Take in one evaluation of trial `run`."""
        trial = with_start(self._trials[run], self.run_folder(self._trials[run]))
        seconds = self._seconds(trial)
        report = Report(
            iteration=values["train/evaluations"],
            step=values["step"],
            rows=values["train/rows"],
            tokens=values["train/tokens"],
            seconds=round(seconds, 1),
            scores={key: value for key, value in values.items() if is_dev_score(key)},
            run=trial.current_run,
            sample=trial.current_sample,
        )
        return self._change(replace(trial.with_report(report), seconds=seconds))

    def end(self, run: str, status: Status, reason: str | None, cause: Cause | None = None) -> Trial:
        """Trial `run` has ended, or waits to go on another time (`waiting`); where it failed, of `cause`."""
        trial = with_history(self._trials[run], self.run_folder(self._trials[run]))
        ended = time.time() if status != "waiting" else None
        trial = replace(trial, status=status, reason=reason, cause=cause, ended=ended, seconds=self._seconds(trial))
        self._counted_until.pop(run, None)
        return self._change(trial)

    def interrupted(self, run: str, reason: str) -> Trial:
        """The cluster has ended trial `run`: it is tried again, unless that has happened too often."""
        count = self._trials[run].interruptions + 1
        status: Status = "waiting" if count <= MAX_RETRIES else "failed"
        return self._change(replace(self.end(run, status, reason, "cluster"), interruptions=count))

    def blame_cluster(self, run: str) -> None:
        """What trial `run` failed of was the cluster: it is no evidence, and is tried again when the sweep goes on."""
        self._change(replace(self._trials[run], cause="cluster"))

    def exploit(self, run: str, generation: Generation) -> Trial:
        """From now on trial `run` goes on with a donor's weights and another sample."""
        return self._change(replace(self._trials[run], generations=(*self._trials[run].generations, generation)))

    def run_folder(self, trial: Trial) -> RunFolder:
        """Where the trial trains now."""
        return self.store.run(trial.current_run)

    def halt(self, reason: str) -> None:
        """All trials that are running wait until the sweep goes on."""
        for trial in self.trials:
            if trial.status == "running":
                self.end(trial.run, "waiting", reason)

    def _sample_next(self) -> Trial | None:
        """The next configuration's first trial; its repeats are planned with it."""
        number = 1 + max((trial.number for trial in self._trials.values()), default=-1)
        if number >= self.options.trials or self._is_exhausted:
            return None
        if (sample := self._sampler.sample(number, self.trials)) is None:
            self._is_exhausted = True
            return None
        self._add("sample", number, sample)
        return self._trials[run_name(self.sweep.name, number, 0, "sample")]

    def _add(self, role: Role, number: int, sample: Mapping[str, Any]) -> None:
        """Plan a configuration with all its repeats, where it is not planned already."""
        for repeat in range(self.options.repeats):
            run = run_name(self.sweep.name, number, repeat, role, sample.get("task"))
            if run in self._trials:
                continue
            trial = Trial(number, repeat, role, run, plain_sample(sample))
            rows, iterations = planned(self.config(trial), self._budget.table_rows)
            self._change(replace(trial, planned_rows=rows, planned_iterations=iterations))

    def _change(self, trial: Trial) -> Trial:
        self._trials[trial.run] = trial
        self.store.write_trial(trial)
        return trial

    def _seconds(self, trial: Trial) -> float:
        """Seconds that the trial ran so far: what its record says, and those of this attempt since."""
        began = self._counted_until.get(trial.run)
        if began is None:
            return trial.seconds
        self._counted_until[trial.run] = now = time.time()
        return trial.seconds + now - began


def open_ledger(
    store: SweepStore, sweep: Sweep, search: Search, tables: "Tables", shared: Mapping[str, Any]
) -> TrialLedger:
    """The sweep's ledger with all trials that are planned beforehand."""
    budget = measure_budget(search.base, tables, sweep.options.evaluations)
    ledger = TrialLedger(store, sweep, search, create_sampler(search.space, sweep.options), budget, shared)
    ledger.prepare()
    return ledger
