"""A run waits until the cluster can give it what it asks for, and says what it waits for."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cluster.launch.growth import Growth
from cluster.launch.nodes import live_nodes
from cluster.launch.resources import ResourcePlan, check_fit, workers_that_fit
from multitask.config.cluster import ClusterConfig
from multitask.errors import UserError

LOOK_S = 1.0
SAY_EVERY_S = 60.0
PENDING_LOOK_S = 30.0
Nodes = Sequence[Mapping[str, float]]


def to_stderr(line: str) -> None:
    """What is waited for is no output of the command's."""
    print(line, file=sys.stderr, flush=True)


class Wait:
    """The wait of one plan: for nodes that have to come at most `patience` seconds, for busy ones as long as it takes."""

    def __init__(self, plan: ResourcePlan, patience: float, say: Callable[[str], None]) -> None:
        self._plan, self._patience, self._say = plan, patience, say
        self._lacking_since: float | None = None
        self._said, self._said_at = "", float("-inf")

    def look(self, nodes: Nodes, free: Nodes, now: float) -> None:
        """One look at the cluster's `nodes` and at what is `free` on each, `now` in seconds of any clock.

        Raises:
            UserError: what lacks has not come in time.
        """
        if workers_that_fit(nodes, self._plan.per_worker) >= self._plan.workers:
            self._lacking_since = None
            return self._tell(f"waiting for {self._plan.describe()}: busy, {_free(self._plan, nodes, free)}", now)
        since = self._lacking_since = now if self._lacking_since is None else self._lacking_since
        if now - since >= self._patience:
            self._give_up(nodes)
        rest = f"{now - since:.0f} of cluster.wait={self._patience:g} s"
        return self._tell(
            f"waiting for nodes: {self._plan.describe()} asked for, {_free(self._plan, nodes, free)}", now, rest
        )

    def _give_up(self, nodes: Nodes) -> None:
        try:
            check_fit(self._plan, nodes)
        except UserError as error:
            raise UserError(f"{error}; no more came in cluster.wait={self._patience:g} seconds") from None

    def _tell(self, line: str, now: float, rest: str = "") -> None:
        if line != self._said or now - self._said_at >= SAY_EVERY_S:
            self._said, self._said_at = line, now
            self._say(f"{line} ({rest})" if rest else line)


def _free(plan: ResourcePlan, nodes: Nodes, free: Nodes) -> str:
    parts = [f"{_sum(free, name):g} of {_sum(nodes, name):g} {name}" for name in plan.per_worker]
    return f"{', '.join(parts)} free on {len(nodes)} node{'s' if len(nodes) != 1 else ''}"


def _sum(nodes: Nodes, name: str) -> float:
    return round(sum(node.get(name, 0.0) for node in nodes), 3)


def wait_for_resources(plan: ResourcePlan, patience: float, say: Callable[[str], None] = to_stderr) -> None:
    """Return when Ray can start the plan's workers, which it is asked for: the demand that an autoscaler goes by.

    Raises:
        UserError: nodes that must come have not come in `patience` seconds.
    """
    from ray.util.placement_group import placement_group, remove_placement_group

    if workers_that_fit(live_nodes()[1], plan.per_worker) >= plan.workers:
        return
    wait = Wait(plan, patience, say)
    group: Any = placement_group([plan.per_worker] * plan.workers, strategy="PACK")
    try:
        while not group.wait(LOOK_S):
            wait.look(*live_nodes(), time.monotonic())
    finally:
        remove_placement_group(group)


def say_device(
    cluster: ClusterConfig, plan: ResourcePlan, growth: Growth, say: Callable[[str], None] = to_stderr
) -> None:
    """Say it where `cluster.device=auto` took CPUs and GPUs might come."""
    if cluster.device == "auto" and not plan.use_gpu and growth.is_open:
        say(
            "cluster.device=auto: no GPU is here, and the autoscaler does not tell what it can bring: training on CPUs; "
            "cluster.device=gpu asks for GPUs"
        )


class PendingWatch:
    """Says, for as long as the `with` block lasts, what this job asks for and does not get, as after a node was lost."""

    def __init__(self, say: Callable[[str], None] = to_stderr) -> None:
        self._say = say
        self._pending: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pending-watch", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(PENDING_LOOK_S):
            try:
                self.look(pending_demand())
            except Exception:
                # Whoever trains meets the loss of the cluster, and says it.
                return

    def look(self, demand: Mapping[str, str]) -> None:
        """One look at what is asked for and not given, by the id of the request: said from the second look on."""
        waiting = [text for identity, text in sorted(demand.items()) if identity in self._pending]
        self._pending = set(demand)
        if waiting:
            self._say(f"waiting for resources: {'; '.join(waiting)}")


def pending_demand() -> dict[str, str]:
    """This job's placement groups that wait for resources: id to what each asks for."""
    import ray
    from ray._private.state import state
    from ray.core.generated import gcs_pb2

    kinds: Any = gcs_pb2
    job = ray.get_runtime_context().get_job_id()
    waiting = {kinds.PlacementGroupTableData.PENDING, kinds.PlacementGroupTableData.RESCHEDULING}
    table = state._connect_and_get_accessor().get_placement_group_table()
    groups = [kinds.PlacementGroupTableData.FromString(data) for data in table]
    return {
        group.placement_group_id.hex(): _describe_bundles([dict(bundle.unit_resources) for bundle in group.bundles])
        for group in groups
        if group.creator_job_id.hex() == job and group.state in waiting
    }


def _describe_bundles(bundles: Sequence[Mapping[str, float]]) -> str:
    kinds = Counter(", ".join(f"{amount:g} {name}" for name, amount in sorted(own.items())) for own in bundles)
    return " and ".join(f"{count} × ({text})" for text, count in kinds.items())
