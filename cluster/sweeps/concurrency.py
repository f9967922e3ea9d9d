"""How many trials the cluster can train at a time, and what the process that drives one asks of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cluster.launch.growth import FIXED, Growth
from cluster.launch.resources import ResourcePlan, plan_resources, workers_on_node, workers_that_fit
from multitask.config.cluster import ClusterConfig
from multitask.errors import UserError

Nodes = Sequence[Mapping[str, float]]

# A trial's actor and the controller of its run, 0.4 GB each, and what W&B takes.
DRIVER_MEMORY = 1e9
DRIVER_CPUS = 0.01
REFRESH_S = 5.0


@dataclass(frozen=True)
class Concurrency:
    """What one trial takes, and how many trials train at a time on the nodes that there are, at least one."""

    resources: ResourcePlan
    trials: int


def plan_concurrency(
    cluster: ClusterConfig,
    nodes: Nodes,
    concurrent: int | None,
    growth: Growth = FIXED,
    drivers: Nodes | None = None,
) -> Concurrency:
    """As many trials at a time as fit, or `concurrent`; `drivers`: the nodes for the processes that drive trials, else all.

    Raises:
        UserError: the number of workers is a range, not even one trial fits, or not `concurrent` of them, also when all nodes have come that can.
    """
    plan = plan_resources(cluster, nodes, growth)
    if plan.is_elastic:
        raise UserError(
            f"cluster.workers={plan.asked}: the trials of a sweep have a fixed number of workers, so that they can be counted; "
            f"set cluster.workers={plan.workers} or --workers-per-trial"
        )
    now, most = (trials_that_fit(plan, some, drivers) for some in (nodes, [*nodes, *growth.nodes]))
    if growth.is_open:
        return Concurrency(plan, concurrent or max(1, now))
    if most == 0:
        largest = max(node.get("memory", 0.0) for node in drivers or [*nodes, *growth.nodes])
        raise UserError(
            f"a trial's own process takes {DRIVER_MEMORY / 1e9:g} GB of memory; no node gives more than {largest / 1e9:.1f} GB"
        )
    if concurrent is not None and concurrent > most:
        raise UserError(
            f"--concurrent {concurrent}: only {most} trial{'s' if most > 1 else ''} with {plan.describe()} fit"
        )
    return Concurrency(plan, concurrent or max(1, now))


def trials_that_fit(plan: ResourcePlan, nodes: Nodes, drivers: Nodes | None = None) -> int:
    """How many trials the nodes hold at a time: their workers, and on `drivers`, or all, the process that drives each."""
    trials = workers_that_fit(nodes, plan.per_worker) // plan.workers
    sizes = [node["memory"] for node in (nodes if drivers is None else drivers) if "memory" in node]
    return min(trials, sum(int(size // DRIVER_MEMORY) for size in sizes)) if sizes else trials


def trials_to_begin(plan: ResourcePlan, nodes: Nodes, growth: Growth, concurrent: int | None) -> int:
    """How many trials may be under way: those that fit and, where nodes can come, more that ask for them.

    Where it is not told how many can come, one; else as many again, up to those that will fit.
    """
    fit = trials_that_fit(plan, nodes)
    if growth.is_open:
        fit += 1
    elif growth:
        fit = min(fit + max(1, fit), trials_that_fit(plan, [*nodes, *growth.nodes]))
    return max(1, min(fit, concurrent) if concurrent is not None else fit)


class TrialLimit:
    """How many trials may be under way now: it follows the cluster, which `look` is asked for every few seconds."""

    def __init__(self, plan: ResourcePlan, concurrent: int | None, look: Callable[[], tuple[Nodes, Growth]]) -> None:
        self._plan, self._concurrent, self._look = plan, concurrent, look
        self._known, self._read = 0, float("-inf")

    def __call__(self) -> int:
        """The number, 1 or more."""
        if time.monotonic() - self._read >= REFRESH_S:
            self._known, self._read = trials_to_begin(self._plan, *self._look(), self._concurrent), time.monotonic()
        return self._known


def driver_bundle(nodes: Nodes, plan: ResourcePlan, concurrent: int, *, is_population: bool) -> dict[str, float]:
    """What Tune reserves for a trial's own process on one of `nodes`: its memory and, where no worker lacks it, a sliver of a CPU.

    The searcher gives out only so many trials at a time. A population is given out whole and takes turns, so there Tune
    must count: each trial takes such a share of the nodes' memory that as many fit as can train.
    """
    memory = max(DRIVER_MEMORY, _population_share(nodes, concurrent)) if is_population else DRIVER_MEMORY
    bundle = {"memory": float(int(memory))}
    return (
        bundle | {"CPU": DRIVER_CPUS} if nodes and all(_has_cpu(n, plan, concurrent, memory) for n in nodes) else bundle
    )


def _has_cpu(node: Mapping[str, float], plan: ResourcePlan, concurrent: int, memory: float) -> bool:
    """Whether all drivers that the node can hold take their sliver of a CPU from none of the workers that it can hold."""
    drivers = min(concurrent, int(node.get("memory", 0.0) // memory))
    rest = node.get("CPU", 0.0) - drivers * DRIVER_CPUS
    return rest >= 0 and workers_on_node({**node, "CPU": rest}, plan.per_worker) == workers_on_node(
        node, plan.per_worker
    )


def _population_share(nodes: Nodes, concurrent: int) -> float:
    sizes = [node.get("memory", 0.0) for node in nodes]
    shares = sorted({size / count for size in sizes if size for count in range(1, concurrent + 1)})
    fitting = (share for share in shares if sum(int(size / share + 1e-9) for size in sizes) <= concurrent)
    return next(fitting, DRIVER_MEMORY)
