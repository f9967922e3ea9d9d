"""The sweep's driver: Ray Tune runs the trials that the ledger plans, until they are through, time is up or somebody says stop."""

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler

from cluster.launch.growth import read_growth
from cluster.launch.nodes import live_nodes
from cluster.launch.resources import ResourcePlan
from cluster.launch.scratch import create_scratch
from cluster.launch.waiting import PendingWatch
from cluster.storage.lease import Launch
from cluster.sweeps.cleanup import TrialCleanup
from cluster.sweeps.concurrency import Concurrency, Nodes, TrialLimit, driver_bundle
from cluster.sweeps.driver_callback import MAX_DRIVER_FAILURES, DriverCallback, Halt, Watch
from cluster.sweeps.population import Population
from cluster.sweeps.records import Options
from cluster.sweeps.schedulers import STOPPING, StoppingScheduler, TakeReport
from cluster.sweeps.search import Search
from cluster.sweeps.trial_actor import TrialRunner
from cluster.sweeps.trials import TrialLedger
from cluster.sweeps.tune_searcher import LedgerSearcher
from cluster.training.observer import Observer
from multitask.config import RunConfig
from tune_spaces import Space

# What watches a trial's run where its controller is.
Trackers = Callable[[RunConfig], Sequence[Observer]]


@dataclass(frozen=True)
class DriverSettings:
    """What the driver is given besides the ledger. `bundle`: what Tune reserves for a trial's own process.

    `limit`: how many trials may be under way now; a population is begun as a whole, and its trials take turns. `labels`:
    those of the nodes that hold the trials' own processes.
    """

    bundle: dict[str, float]
    limit: Callable[[], int]
    labels: dict[str, str]
    space: Space
    watch: Watch

    @classmethod
    def of(cls, search: Search, options: Options, nodes: Nodes, fits: Concurrency, watch: Watch) -> "DriverSettings":
        """Those of a sweep of `search` with `options`, of whose trials `fits` tells, with their own processes on `nodes`."""
        is_population, plan = options.scheduler == "pbt", fits.resources
        bundle = driver_bundle(nodes, plan, fits.trials, is_population=is_population)
        follow = TrialLimit(plan, options.concurrent, lambda: (live_nodes()[0], read_growth()))
        labels = search.base.cluster.driver_labels
        return cls(bundle, (lambda: options.trials) if is_population else follow, labels, search.space, watch)

    @property
    def placement(self) -> tune.PlacementGroupFactory:
        """The bundle as Tune asks Ray for it."""
        selector: dict[str, Any] = {"bundle_label_selector": [self.labels]} if self.labels else {}
        return tune.PlacementGroupFactory([self.bundle], **selector)


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
