"""The sweep's driver: Ray Tune runs the trials that the ledger plans, until they are through, time is up or somebody says stop."""

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler

from cluster.launch.resources import ResourcePlan
from cluster.launch.scratch import create_scratch
from cluster.launch.waiting import PendingWatch
from cluster.storage.lease_record import Launch
from cluster.sweeps.cleanup import TrialCleanup
from cluster.sweeps.driver_callback import MAX_DRIVER_FAILURES, DriverCallback, Halt
from cluster.sweeps.driver_settings import DriverSettings
from cluster.sweeps.population import Population
from cluster.sweeps.schedulers import STOPPING, StoppingScheduler, TakeReport
from cluster.sweeps.trial_actor import TrialRunner
from cluster.sweeps.trials import TrialLedger
from cluster.sweeps.tune_searcher import LedgerSearcher
from cluster.training.observer import Observer
from multitask.config import RunConfig
from tune_spaces import Space

# What watches a trial's run where its controller is.
Trackers = Callable[[RunConfig], Sequence[Observer]]


def run_driver(ledger: TrialLedger, board: Any, settings: DriverSettings) -> str | None:
    """Train trials until nothing is left to do; gives the reason where something is.

    Raises:
        UserError: the sweep's folder cannot be written.
    """
    random.seed(ledger.options.seed)
    callback = DriverCallback(ledger, TrialCleanup(board), settings.watch)
    scratch = create_scratch("tune")
    try:
        tuner = tune.Tuner(
            tune.with_resources(TrialRunner, settings.placement),
            tune_config=tune.TuneConfig(
                search_alg=LedgerSearcher(ledger, settings.limit),
                scheduler=_scheduler(ledger, settings.space, callback.take_report),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                callbacks=[callback],
                stop=Halt(callback),
                failure_config=tune.FailureConfig(max_failures=MAX_DRIVER_FAILURES),
                verbose=0,
            ),
        )
        with PendingWatch():
            tuner.fit()
        return callback.close()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def shared_config(board: Any, plan: ResourcePlan, trackers: Trackers) -> dict[str, Any]:
    """What every trial's actor is given besides its config; all of them are one launch, this driver's."""
    return {"board": [board], "plan": asdict(plan), "trackers": [trackers], "launch": Launch.here().to_dict()}


def _name(trial: Any) -> str:
    name: str = trial.config["run"]
    return name


def _scheduler(ledger: TrialLedger, space: Space, take_report: TakeReport) -> TrialScheduler:
    if ledger.options.scheduler == "pbt":
        return Population(ledger, space, take_report)
    return StoppingScheduler(STOPPING[ledger.options.scheduler](ledger.options), ledger, take_report)
