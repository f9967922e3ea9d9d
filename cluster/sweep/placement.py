"""How many trials the cluster can train at a time."""

from collections.abc import Mapping, Sequence

from cluster.resources import ResourcePlan, plan_resources, workers_that_fit
from multitask.config.cluster import ClusterConfig
from multitask.errors import UserError


def plan_trials(
    cluster: ClusterConfig, nodes: Sequence[Mapping[str, float]], concurrent: int | None
) -> tuple[ResourcePlan, int]:
    """What one trial takes, and how many of them train at a time: as many as fit, or `concurrent`.

    Raises:
        UserError: not even one trial fits, or not `concurrent` of them.
    """
    plan = plan_resources(cluster, nodes)
    fit = workers_that_fit(nodes, plan.per_worker) // plan.workers
    if concurrent is not None and concurrent > fit:
        raise UserError(
            f"--concurrent {concurrent}: only {fit} trial{'s' if fit > 1 else ''} with {plan.describe()} fit"
        )
    return plan, concurrent or fit
