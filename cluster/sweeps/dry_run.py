"""What a sweep would do: its trials, their resources and how long it takes at most. Nothing is written but the token cache."""

import tempfile
from dataclasses import dataclass
from typing import Any

from cluster.launch.launch import available_nodes
from cluster.launch.resources import ResourcePlan
from cluster.storage.storage import Storage
from cluster.sweeps.concurrency import plan_concurrency
from cluster.sweeps.create import create_sweep
from cluster.sweeps.records import Options, Trial
from cluster.sweeps.search import Search
from cluster.sweeps.speed_probe import Speed, probe_speed
from cluster.sweeps.store import SweepStore
from cluster.sweeps.trials import open_ledger
from multitask.config import RunConfig
from multitask.data import prepare_tables

# Measured from the trial's start to its first step on two CPU cores (docs/measured.md, Start-up).
START_S = 12.0


@dataclass(frozen=True)
class DryRun:
    """A sweep before it begins. `configs`: run to its config; `concurrent`: trials at a time; `seconds`: of all of it."""

    name: str
    options: Options
    trials: tuple[Trial, ...]
    configs: dict[str, RunConfig]
    resources: ResourcePlan
    concurrent: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        trials = [trial.to_dict() | {"config": self.configs[trial.run].to_public()} for trial in self.trials]
        each = {"workers": self.resources.workers, "per_worker": self.resources.per_worker}
        resources = each | {"concurrent": self.concurrent}
        return {"name": self.name, "trials": trials, "resources": resources, "seconds": self.seconds}


def dry_run(search: Search, options: Options, name: str) -> DryRun:
    """Plan the sweep `name` in a temporary folder, and measure a few steps of its recipe.

    Raises:
        UserError: a trial could not be trained, or the cluster cannot hold one.
    """
    nodes, growth = available_nodes(search.base)
    fits = plan_concurrency(search.base.cluster, nodes, options.concurrent, growth)
    tables = prepare_tables(search.base)
    with tempfile.TemporaryDirectory() as place:
        store = SweepStore(Storage(place))
        ledger = open_ledger(store, create_sweep(search, name, options, store), search, tables, {})
        while ledger.next() is not None:
            continue
        configs = {trial.run: ledger.config(trial) for trial in ledger.trials}
    trials, speed = tuple(ledger.trials), probe_speed(search.base, tables)
    seconds = sum(_seconds(trial, speed, fits.resources.workers) for trial in trials) / fits.trials
    return DryRun(name, options, trials, configs, fits.resources, fits.trials, seconds)


def _seconds(trial: Trial, speed: Speed, workers: int) -> float:
    return START_S + (trial.planned_rows * speed.row + trial.planned_iterations * speed.evaluation) / workers
