"""How many workers a run has whose number follows the cluster (`cluster.workers: [least, most]`)."""

import time
from collections.abc import Callable, Mapping

from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ResizeDecision, ScalingDecision, ScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroupPollStatus, WorkerGroupState
from ray.train.v2.api.config import ScalingConfig

from cluster.launch.nodes import free_nodes
from cluster.launch.resources import workers_that_fit

# How long fewer than the most are looked at before they are started: what was just given back is not seen at once.
SETTLE_S = 2.0
LOOK_S = 1.0
# Room for more must last, and the workers must have trained for a while: growing costs a restart.
STEADY_S, GROW_AFTER_S = 5.0, 15.0


def free_room(per_worker: Mapping[str, float]) -> int:
    """How many more workers the connected cluster has room for now."""
    return workers_that_fit(free_nodes(), per_worker)


class ElasticPolicy(ScalingPolicy):
    """As many workers as there is room for when they are started; where there is room for more later, the controller is told.

    Ray's own policy asks its autoscaling coordinator, which counts dead nodes for a while, and restarts workers unasked. This one
    counts what is free on living nodes, and only says that the run could grow: the workers save first (`RunController`).
    """

    def __init__(
        self,
        scaling_config: ScalingConfig,
        room: Callable[[Mapping[str, float]], int] = free_room,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(scaling_config)
        self._per_worker = scaling_config._resources_per_worker_not_none
        self._least, self._most = scaling_config.min_workers, scaling_config.max_workers
        self._room, self._clock = room, clock
        self._seen, self._since = -1, 0.0
        self._looked, self._roomy_since = float("-inf"), float("inf")
        self.can_grow = False

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """Start the most at once; fewer, down to the least, when no more have come for a moment."""
        self._ask_autoscaler()
        self.can_grow, self._roomy_since = False, float("inf")
        fit, now = min(self._room(self._per_worker), self._most), self._clock()
        if fit != self._seen:
            self._seen, self._since = fit, now
        if fit == self._most or (fit >= self._least and now - self._since >= SETTLE_S):
            self._seen = -1
            return ResizeDecision(fit, dict(self._per_worker))
        return NoopDecision()

    def make_decision_for_running_worker_group(
        self, worker_group_state: WorkerGroupState, worker_group_status: WorkerGroupPollStatus
    ) -> ScalingDecision:
        """Leave them alone; `can_grow` says whether there has been room for more for a while."""
        self._ask_autoscaler()
        now = self._clock()
        if now - self._looked < LOOK_S:
            return NoopDecision()
        self._looked = now
        roomy = worker_group_state.num_workers < self._most and self._room(self._per_worker) > 0
        self._roomy_since = min(self._roomy_since, now) if roomy else float("inf")
        grown_up = now - worker_group_state.start_time >= GROW_AFTER_S
        self.can_grow = grown_up and now - self._roomy_since >= STEADY_S
        return NoopDecision()

    def _ask_autoscaler(self) -> None:
        super()._maybe_send_resource_request()  # type: ignore[no-untyped-call]

    def _get_num_workers_for_resource_request(self) -> int:
        return self._most
