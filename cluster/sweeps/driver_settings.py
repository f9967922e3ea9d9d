"""What a sweep's driver is given: what Tune asks Ray for, and how many trials may be under way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray import tune

from cluster.launch.growth import read_growth
from cluster.launch.nodes import live_nodes
from cluster.sweeps.concurrency import Concurrency, Nodes, TrialLimit, driver_bundle
from cluster.sweeps.records import Options, Sweep
from cluster.sweeps.search import Search
from tune_spaces import Space

Watch = Callable[[Sweep], None]


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
