"""What a run asks of a cluster, and whether the cluster has it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multitask.config.cluster import ClusterConfig
from multitask.errors import UserError


@dataclass(frozen=True)
class ResourcePlan:
    """Workers and what each of them gets."""

    workers: int
    use_gpu: bool
    per_worker: dict[str, float]

    @property
    def total(self) -> dict[str, float]:
        """What all workers take together."""
        return {name: amount * self.workers for name, amount in self.per_worker.items()}

    def describe(self) -> str:
        """One line."""
        each = ", ".join(f"{amount:g} {name}" for name, amount in self.per_worker.items())
        return f"{self.workers} worker{'s' if self.workers > 1 else ''} with {each} each"


def plan_resources(cluster: ClusterConfig, nodes: Sequence[Mapping[str, float]]) -> ResourcePlan:
    """The plan for `cluster` on `nodes`, each a resource's name to its amount.

    Raises:
        UserError: the nodes together do not have what is asked for, or no number of them can hold all workers.
    """
    gpus = sum(node.get("GPU", 0) for node in nodes)
    use_gpu = cluster.device == "gpu" or (cluster.device == "auto" and gpus > 0)
    per_worker = {"CPU": cluster.cpus_per_worker} | ({"GPU": cluster.gpus_per_worker} if use_gpu else {})
    if use_gpu and cluster.gpus_per_worker < 1 and cluster.workers > 1:
        raise UserError(
            f"cluster.gpus_per_worker={cluster.gpus_per_worker:g}: the workers of one run cannot share a GPU, NCCL refuses it; "
            "set cluster.workers=1, so that several runs share one"
        )
    plan = ResourcePlan(cluster.workers, use_gpu, per_worker)
    for name, wanted in plan.total.items():
        found = sum(node.get(name, 0) for node in nodes)
        if wanted > found + 1e-9:
            raise UserError(
                f"cluster.workers={cluster.workers} asks for {wanted:g} {name} ({plan.describe()}), "
                f"the cluster has {found:g} {name} on {len(nodes)} node{'s' if len(nodes) != 1 else ''}"
            )
    fits = workers_that_fit(nodes, per_worker)
    if fits < cluster.workers:
        largest = ", ".join(f"{max(node.get(name, 0) for node in nodes):g} {name}" for name in per_worker)
        raise UserError(
            f"cluster.workers={cluster.workers}: only {fits} of them fit ({plan.describe()}); no node has more than {largest}"
        )
    return plan


def workers_that_fit(nodes: Sequence[Mapping[str, float]], per_worker: Mapping[str, float]) -> int:
    """How many workers the nodes can hold, each worker whole on one of them."""
    return sum(min(int((node.get(name, 0) + 1e-9) // own) for name, own in per_worker.items()) for node in nodes)
