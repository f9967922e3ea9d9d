"""What an autoscaler can add, and what a plan makes of it."""

from types import SimpleNamespace

import pytest

from cluster.launch.growth import NODE_GROUP, Growth, growth_of_groups, is_scaled
from cluster.launch.resources import plan_resources
from cluster.launch.waiting import say_device
from multitask.config.cluster import ClusterConfig
from multitask.errors import UserError

HEAD = {"CPU": 4.0, "memory": 16e9}
GPU_NODE = {"CPU": 8.0, "GPU": 4.0, "memory": 64e9}
GPUS = Growth((GPU_NODE, GPU_NODE))


def _group(name: str, most: int) -> SimpleNamespace:
    return SimpleNamespace(name=name, resources=GPU_NODE, max_count=most)


@pytest.mark.parametrize(("most", "alive", "more"), [(3, [], 3), (3, ["gpu", None, "gpu"], 1), (2, ["gpu"] * 3, 0)])
def test_a_group_grows_to_its_bound(most: int, alive: list, more: int) -> None:
    assert growth_of_groups([_group("gpu", most)], alive) == Growth((GPU_NODE,) * more)


def test_a_group_without_bound_grows_beyond_what_a_run_asks_for() -> None:
    assert plan_resources(ClusterConfig(workers=64), [HEAD], growth_of_groups([_group("gpu", -1)], [])).use_gpu


@pytest.mark.parametrize(
    ("nodes", "report", "scaled"),
    [
        ([{"Labels": {}}], None, False),
        ([{"Labels": {}}], {"active_nodes": {"node_1f": 1}, "pending_launches": {}}, False),
        ([{"Labels": {}}], {"active_nodes": {"ray.head.default": 1}}, True),
        ([{"Labels": {NODE_GROUP: "head"}}], None, True),
    ],
)
def test_an_autoscaler_is_told_from_a_monitor_that_only_watches(nodes: list, report: dict | None, scaled: bool) -> None:
    assert is_scaled(nodes, {"autoscaler_report": report} if report else {}) is scaled


def test_workers_are_planned_on_nodes_that_can_come() -> None:
    plan = plan_resources(ClusterConfig(workers=8), [], GPUS)
    assert plan.per_worker == {"CPU": 1.0, "GPU": 1.0}
    with pytest.raises(UserError, match=r"workers=9 asks for 9 GPU .* the cluster can grow to 8 GPU on 3 nodes"):
        plan_resources(ClusterConfig(workers=9), [HEAD], GPUS)


def test_nothing_is_refused_where_it_is_not_told_what_can_come() -> None:
    assert plan_resources(ClusterConfig(workers=99, device="gpu"), [], Growth(is_open=True)).use_gpu


@pytest.mark.parametrize(
    ("device", "growth", "said"),
    [("auto", Growth(is_open=True), 1), ("cpu", Growth(is_open=True), 0), ("auto", GPUS, 0), ("auto", Growth(), 0)],
)
def test_cpus_are_never_taken_silently_where_gpus_might_come(device: str, growth: Growth, said: int) -> None:
    cluster, lines = ClusterConfig.model_validate({"device": device}), list[str]()
    say_device(cluster, plan_resources(cluster, [HEAD], growth), growth, lines.append)
    assert len(lines) == said
    assert all("cluster.device=gpu asks for GPUs" in line for line in lines)
