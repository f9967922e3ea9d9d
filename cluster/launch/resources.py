"""What a run asks of a cluster, and whether the cluster has it or can get it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.launch.growth import FIXED, Growth
from multitask.config.cluster import ClusterConfig
from multitask.errors import UserError

_ROUNDING = 1e-9


@dataclass(frozen=True)
class ResourcePlan:
    """Workers and what each of them gets. `workers`: the fewest with which the run goes on; `most`: if it takes more."""

    workers: int
    use_gpu: bool
    per_worker: dict[str, float]
    most: int | None = None

    @property
    def is_elastic(self) -> bool:
        """Whether the number of workers follows the cluster."""
        return self.most is not None

    @property
    def asked(self) -> str:
        """The number of workers as `cluster.workers` says it."""
        return f"{self.workers}" if self.most is None else f"[{self.workers}, {self.most}]"

    @property
    def total(self) -> dict[str, float]:
        """What the fewest workers take together."""
        return {name: amount * self.workers for name, amount in self.per_worker.items()}

    def describe(self) -> str:
        """One line."""
        each = ", ".join(f"{amount:g} {name}" for name, amount in self.per_worker.items())
        most = self.most or self.workers
        number = f"{self.workers} to {most}" if self.is_elastic else f"{most}"
        return f"{number} worker{'s' if most > 1 else ''} with {each} each"


def plan_resources(
    cluster: ClusterConfig, nodes: Sequence[Mapping[str, float]], growth: Growth = FIXED
) -> ResourcePlan:
    """The plan for `cluster` on `nodes`, each a resource's name to its amount, and on those that can still come.

    Raises:
        UserError: the nodes together do not have what is asked for, or no number of them can hold all workers.
    """
    reachable = [*nodes, *growth.nodes]
    gpus = sum(node.get("GPU", 0) for node in reachable)
    use_gpu = cluster.device == "gpu" or (cluster.device == "auto" and gpus > 0)
    if use_gpu:
        _check_gpus(cluster)
    per_worker = {"CPU": cluster.cpus_per_worker} | ({"GPU": cluster.gpus_per_worker} if use_gpu else {})
    most = None if isinstance(cluster.workers, int) else cluster.most_workers
    plan = ResourcePlan(cluster.least_workers, use_gpu, per_worker, most)
    if not growth.is_open:
        check_fit(plan, reachable, can_grow=bool(growth))
    return plan


def _check_gpus(cluster: ClusterConfig) -> None:
    amount = cluster.gpus_per_worker
    if amount < 1 and cluster.most_workers > 1:
        raise UserError(
            f"cluster.gpus_per_worker={amount:g}: the workers of one run cannot share a GPU, NCCL refuses it; "
            "set cluster.workers=1, so that several runs share one"
        )
    if amount > 1 and amount != int(amount):
        raise UserError(f"cluster.gpus_per_worker={amount:g}: more than one GPU is given in whole ones only")


def check_fit(plan: ResourcePlan, nodes: Sequence[Mapping[str, float]], *, can_grow: bool = False) -> None:
    """Raises:
    UserError: `nodes`, all that there are or, where the cluster `can_grow`, all that there can be, cannot hold the plan.
    """
    cluster = "the cluster can grow to" if can_grow else "the cluster has"
    for name, wanted in plan.total.items():
        amount = sum(node.get(name, 0) for node in nodes)
        if wanted > amount + _ROUNDING:
            raise UserError(
                f"cluster.workers={plan.asked} asks for {wanted:g} {name} ({plan.describe()}), "
                f"{cluster} {amount:g} {name} on {len(nodes)} node{'s' if len(nodes) != 1 else ''}"
            )
    fits = workers_that_fit(nodes, plan.per_worker)
    if fits < plan.workers:
        largest = ", ".join(f"{max(node.get(name, 0) for node in nodes):g} {name}" for name in plan.per_worker)
        raise UserError(
            f"cluster.workers={plan.asked}: only {fits} of them fit ({plan.describe()}); no node has more than {largest}"
        )


def workers_that_fit(nodes: Sequence[Mapping[str, float]], per_worker: Mapping[str, float]) -> int:
    """How many workers the nodes can hold, each worker whole on one of them, and its share of a GPU on one device."""
    return sum(workers_on_node(node, per_worker) for node in nodes)


def workers_on_node(node: Mapping[str, float], per_worker: Mapping[str, float]) -> int:
    """How many workers one node can hold."""
    return min(_shares(name, node.get(name, 0.0), amount) for name, amount in per_worker.items())


def _shares(name: str, available: float, amount: float) -> int:
    """How many times `amount` can be taken of a resource; shares of GPUs are cut from one device each."""
    if name != "GPU" or amount >= 1:
        return int((available + _ROUNDING) // amount)
    devices = int(available + _ROUNDING)
    rest = available - devices
    return devices * int((1 + _ROUNDING) // amount) + int((rest + _ROUNDING) // amount)
