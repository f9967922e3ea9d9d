"""The trials of a confirmation, which the driver trains as it trains those of a search."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cluster.sweeps.confirmation import Confirmation
from cluster.sweeps.plan import measure_budget, planned, trial_config
from cluster.sweeps.records import Sweep, Trial
from cluster.sweeps.samplers import create_sampler
from cluster.sweeps.search import Search
from cluster.sweeps.store import TRIALS, SweepStore
from cluster.sweeps.trials import TrialLedger
from multitask.config import RunConfig

if TYPE_CHECKING:
    from multitask.data import Tables


class ConfirmationLedger(TrialLedger):
    """The trials of `sweep.confirmations[-1]` alone. Nothing is sampled, and no sampler is told of them."""

    keeps_all = True

    def prepare(self) -> None:
        """Plan those that are not yet, and take in what trials of an earlier attempt reached without the driver."""
        known = {trial.run: trial for trial in self.sweep.trials}
        self._trials = {run: known[run] for run in self._plan.runs(self.sweep.name) if run in known}
        for repeat, seed in enumerate(self._plan.seeds):
            for one in self._plan.everything:
                run = self._plan.run(self.sweep.name, one.number, seed)
                if run not in self._trials:
                    trial = Trial(one.number, repeat, "confirm", run, one.sample)
                    rows, iterations = planned(self.config(trial), self._budget.table_rows)
                    self._change(replace(trial, planned_rows=rows, planned_iterations=iterations))
        self._recover()

    @property
    def _plan(self) -> Confirmation:
        return self.sweep.confirmations[-1]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, seed by seed: whatever ends the confirmation, whole seeds can be compared."""
        return tuple(sorted(self._trials.values(), key=lambda trial: (trial.repeat, trial.number)))

    def config(self, trial: Trial) -> RunConfig:
        """The config that `trial` trains: that of its configuration in the search, to its end, with another seed."""
        config = self.sampled_config(trial.sample) if trial.number else self._base
        place = self.store.storage.place(TRIALS)
        made = trial_config(config, trial, self.sweep.name, place, self.options, self._budget)
        tracking = made.tracking.model_copy(update={"job_type": "confirm", "group": self.sweep.group})
        return made.model_copy(update={"seed": self._plan.seeds[trial.repeat], "tracking": tracking})

    def snapshot(self, status: str, elapsed: float) -> Sweep:
        """The confirmation as it stands; its time is that of this attempt, since the search's was for other trials."""
        return super().snapshot(status, elapsed - self.sweep.elapsed)

    def _sample_next(self) -> None:
        return None


def open_confirmation_ledger(
    store: SweepStore, sweep: Sweep, search: Search, tables: "Tables", shared: Mapping[str, Any]
) -> ConfirmationLedger:
    """The ledger of the sweep's last confirmation, with all its trials; `sweep` has `confirmation_options`."""
    budget = measure_budget(search.base, tables, sweep.options.evaluations)
    sampler = create_sampler(search.space, sweep.options)
    ledger = ConfirmationLedger(store, sweep, search, sampler, budget, shared)
    ledger.prepare()
    return ledger
