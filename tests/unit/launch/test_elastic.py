"""How many workers are started and when more would fit, on nodes that are only told of."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ResizeDecision
from ray.train.v2.api.config import ScalingConfig

from cluster.launch.elastic import ElasticPolicy
from cluster.launch.resources import ResourcePlan, plan_resources, workers_that_fit
from cluster.sweeps.concurrency import plan_concurrency
from multitask.config.cluster import ClusterConfig
from multitask.config.messages import parse_values
from multitask.errors import UserError


class Cluster:
    """Nodes, a clock, and a policy for 1 to 3 workers that looks at both."""

    def __init__(self, *free: float) -> None:
        self.now, self.free = 100.0, list(free)
        config = ScalingConfig(num_workers=(1, 3), resources_per_worker={"CPU": 2})
        self.policy = ElasticPolicy(config, self._room, lambda: self.now)
        self.policy._ask_autoscaler = lambda: None  # type: ignore[method-assign]

    def _room(self, per_worker: Mapping[str, float]) -> int:
        return workers_that_fit([{"CPU": cpus} for cpus in self.free], per_worker)

    def start(self) -> int | None:
        """How many workers the policy starts now; None where it waits."""
        decision = self.policy.make_decision_for_non_running_worker_group()
        assert isinstance(decision, ResizeDecision | NoopDecision)
        return decision.num_workers if isinstance(decision, ResizeDecision) else None

    def watch(self, workers: int, seconds: int, began: float) -> bool:
        """Whether the run could grow after `seconds` more, looked at each second."""
        for _ in range(seconds):
            self.now += 1
            state: Any = SimpleNamespace(num_workers=workers, start_time=began)
            decision = self.policy.make_decision_for_running_worker_group(state, None)  # type: ignore[arg-type]
            assert isinstance(decision, NoopDecision)  # Workers are never taken from a running group unasked.
        return self.policy.can_grow


def test_the_most_start_at_once() -> None:
    assert Cluster(2, 3, 2, 8).start() == 3


def test_fewer_start_when_no_more_have_come() -> None:
    cluster = Cluster(2, 1.9, 2)
    assert cluster.start() is None
    cluster.now += 1.9
    assert cluster.start() is None
    cluster.now += 0.2
    assert cluster.start() == 2


def test_what_comes_meanwhile_is_waited_for_anew() -> None:
    cluster = Cluster(2)
    assert cluster.start() is None
    cluster.now += 1.9
    cluster.free = [2, 2]
    assert cluster.start() is None
    cluster.now += 1.9
    assert cluster.start() is None
    cluster.free = [2, 2, 2]
    assert cluster.start() == 3


def test_none_start_below_the_least() -> None:
    cluster = Cluster(1.5, 1.5)
    for _ in range(5):
        assert cluster.start() is None
        cluster.now += 60


def test_room_for_more_must_last() -> None:
    cluster = Cluster(0)
    assert not cluster.watch(2, 100, began=100)
    cluster.free = [2]
    assert not cluster.watch(2, 4, began=100)
    cluster.free = [0]
    assert not cluster.watch(2, 4, began=100)
    cluster.free = [2]
    assert cluster.watch(2, 7, began=100)


def test_young_workers_and_a_full_run_do_not_grow() -> None:
    cluster = Cluster(2)
    assert not cluster.watch(2, 14, began=100)
    assert cluster.watch(2, 1, began=100)
    assert not Cluster(8).watch(3, 100, began=100)


def test_after_a_restart_room_is_looked_for_anew() -> None:
    cluster = Cluster(2)
    assert cluster.watch(2, 60, began=100)
    cluster.start()
    assert not cluster.policy.can_grow


def test_range_is_planned_by_its_least() -> None:
    nodes = [{"CPU": 2.0}]
    plan = plan_resources(ClusterConfig(workers=(1, 3), device="cpu"), nodes)
    assert plan == ResourcePlan(1, False, {"CPU": 1.0}, 3)
    assert plan.describe() == "1 to 3 workers with 1 CPU each"
    with pytest.raises(UserError, match=r"cluster\.workers=\[3, 4\] asks for 3 CPU \(3 to 4 workers"):
        plan_resources(ClusterConfig(workers=(3, 4), device="cpu"), nodes)


def test_trials_of_a_sweep_take_no_range() -> None:
    with pytest.raises(UserError, match=r"cluster\.workers=\[1, 3\]: the trials of a sweep have a fixed number"):
        plan_concurrency(ClusterConfig(workers=(1, 3), device="cpu"), [{"CPU": 8.0}], None)


@pytest.mark.parametrize("asked", [0, -1, "two", True, [3, 1], [1], [1, 2, 3], [0, 2], 1.5, None])
def test_number_of_workers_is_refused_in_one_line(asked: object) -> None:
    with pytest.raises(
        UserError, match=r"^recipe: workers: must be a number, 1 or more, or \[least, most\]"
    ) as refused:
        parse_values(ClusterConfig, {"workers": asked}, "recipe")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(("asked", "held"), [(4, 4), ([1, 3], [1, 3]), ([2, 2], 2)])
def test_number_of_workers_goes_through_json(asked: object, held: object) -> None:
    config = parse_values(ClusterConfig, {"workers": asked}, "recipe")
    plain = config.model_dump(mode="json")
    assert plain["workers"] == held
    assert parse_values(ClusterConfig, plain, "again") == config
