"""How many trials the cluster can train at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.launch.resources import ResourcePlan, plan_resources, workers_that_fit
from multitask.config.cluster import ClusterConfig
from multitask.errors import UserError


@dataclass(frozen=True)
class Concurrency:
    """What one trial takes, and how many trials train at a time."""

    resources: ResourcePlan
    trials: int


def plan_concurrency(
    cluster: ClusterConfig, nodes: Sequence[Mapping[str, float]], concurrent: int | None
) -> Concurrency:
    """As many trials at a time as fit, or `concurrent`.

    Raises:
        UserError: not even one trial fits, or not `concurrent` of them.
    """
    plan = plan_resources(cluster, nodes)
    fit = workers_that_fit(nodes, plan.per_worker) // plan.workers
    if concurrent is not None and concurrent > fit:
        raise UserError(
            f"--concurrent {concurrent}: only {fit} trial{'s' if fit > 1 else ''} with {plan.describe()} fit"
        )
    return Concurrency(plan, concurrent or fit)


def driver_bundle(nodes: Sequence[Mapping[str, float]], concurrent: int, *, is_population: bool) -> dict[str, float]:
    """What Tune reserves for a trial's own process: none of what workers need, and yet not nothing, which Tune refuses.

    The searcher gives out only so many trials at a time. A population is given out whole and takes turns, so there Tune
    must count: each trial takes such a share of the nodes' memory that as many fit as can train.
    """
    if not is_population:
        return {"memory": 1.0}
    sizes = [node.get("memory", 0.0) for node in nodes]
    shares = sorted({size / count for size in sizes if size for count in range(1, concurrent + 1)})
    fitting = (share for share in shares if sum(int(size / share + 1e-9) for size in sizes) <= concurrent)
    return {"memory": float(int(next(fitting)))}
