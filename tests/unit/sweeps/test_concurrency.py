"""How many trials a cluster holds, worked out before anything starts."""

import pytest

from cluster.launch.growth import FIXED, Growth
from cluster.launch.resources import ResourcePlan
from cluster.sweeps.concurrency import TrialLimit, driver_bundle, plan_concurrency, trials_to_begin
from multitask.config.cluster import ClusterConfig
from multitask.errors import UserError

GPU_NODE = {"CPU": 8.0, "GPU": 2.0, "memory": 64e9}
CPU_NODE = {"CPU": 2.0, "memory": 16e9}


@pytest.mark.parametrize(
    ("cluster", "nodes", "trials"),
    [
        ({"workers": 1}, [CPU_NODE], 2),
        ({"workers": 2}, [CPU_NODE], 1),
        ({"workers": 1, "cpus_per_worker": 0.5}, [CPU_NODE], 4),
        ({"workers": 1}, [GPU_NODE], 2),
        ({"workers": 2}, [GPU_NODE, GPU_NODE], 2),
        ({"workers": 3}, [GPU_NODE, GPU_NODE], 1),
        ({"workers": 1, "gpus_per_worker": 0.25}, [GPU_NODE], 8),
        ({"workers": 1, "gpus_per_worker": 0.25, "cpus_per_worker": 3}, [GPU_NODE], 2),
        ({"workers": 1, "device": "cpu"}, [GPU_NODE, CPU_NODE], 10),
    ],
)
def test_as_many_trials_as_fit(cluster: dict, nodes: list, trials: int) -> None:
    assert plan_concurrency(ClusterConfig(**cluster), nodes, None).trials == trials


def test_fewer_at_a_time_are_a_wish_and_more_are_refused() -> None:
    assert plan_concurrency(ClusterConfig(), [CPU_NODE], 1).trials == 1
    with pytest.raises(UserError, match=r"--concurrent 3: only 2 trials"):
        plan_concurrency(ClusterConfig(), [CPU_NODE], 3)


def test_a_trial_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"cluster.workers=3 asks for 3 CPU"):
        plan_concurrency(ClusterConfig(workers=3), [CPU_NODE], None)


def test_workers_of_one_trial_do_not_share_a_gpu() -> None:
    with pytest.raises(UserError, match=r"cluster.gpus_per_worker=0.5.*cluster.workers=1"):
        plan_concurrency(ClusterConfig(workers=2, gpus_per_worker=0.5), [GPU_NODE], None)


ON_CPU = ResourcePlan(1, False, {"CPU": 1.0})
ON_GPU = ResourcePlan(1, True, {"CPU": 4.0, "GPU": 1.0})


def test_memory_for_their_own_processes_bounds_the_trials() -> None:
    nodes = [{"CPU": 64.0, "memory": 5.5e9}, {"CPU": 2.0, "memory": 1.2e9}]
    assert plan_concurrency(ClusterConfig(), nodes, None).trials == 6
    assert plan_concurrency(ClusterConfig(), nodes, None, drivers=nodes[1:]).trials == 1
    with pytest.raises(UserError, match=r"own process takes 1 GB of memory; no node gives more than 0\.9 GB"):
        plan_concurrency(ClusterConfig(), [{"CPU": 64.0, "memory": 0.9e9}], None)


def test_trials_on_nodes_that_can_come_are_planned_and_more_are_refused() -> None:
    growth = Growth((GPU_NODE, GPU_NODE))
    assert plan_concurrency(ClusterConfig(device="gpu"), [], None, growth).trials == 1
    assert plan_concurrency(ClusterConfig(device="gpu"), [], 4, growth).trials == 4
    with pytest.raises(UserError, match=r"--concurrent 5: only 4 trials"):
        plan_concurrency(ClusterConfig(device="gpu"), [], 5, growth)


@pytest.mark.parametrize(
    ("nodes", "growth", "concurrent", "begun"),
    [
        ([CPU_NODE] * 3, FIXED, None, 6),
        ([CPU_NODE] * 3, FIXED, 4, 4),
        ([], FIXED, None, 1),
        ([], Growth((CPU_NODE,) * 4), None, 1),
        ([CPU_NODE], Growth((CPU_NODE,) * 4), None, 4),
        ([CPU_NODE] * 4, Growth((CPU_NODE,)), None, 10),
        ([CPU_NODE], Growth(is_open=True), None, 3),
        ([CPU_NODE], Growth(is_open=True), 2, 2),
    ],
)
def test_trials_are_begun_as_the_cluster_grows_and_shrinks(
    nodes: list, growth: Growth, concurrent: int | None, begun: int
) -> None:
    assert trials_to_begin(ON_CPU, nodes, growth, concurrent) == begun


def test_the_limit_asks_the_cluster_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [[CPU_NODE], [CPU_NODE] * 3, []]
    limit = TrialLimit(ON_CPU, None, lambda: (seen.pop(0), FIXED))
    assert [limit(), limit()] == [2, 2]
    monkeypatch.setattr("cluster.sweeps.concurrency.REFRESH_S", 0)
    assert [limit(), limit()] == [6, 1]


def test_a_trial_s_own_process_asks_for_its_memory_and_for_a_cpu_that_no_worker_lacks() -> None:
    assert driver_bundle([GPU_NODE], ON_GPU, 2, is_population=False) == {"memory": 1e9}
    assert driver_bundle([{**GPU_NODE, "CPU": 9.0}], ON_GPU, 2, is_population=False) == {"memory": 1e9, "CPU": 0.01}
    # Two of two CPUs are the workers': a hundredth would cost one of them. So on one node of several.
    assert driver_bundle([CPU_NODE], ON_CPU, 2, is_population=False) == {"memory": 1e9}
    assert "CPU" not in driver_bundle([CPU_NODE, {**CPU_NODE, "CPU": 2.5}], ON_CPU, 4, is_population=False)
    assert driver_bundle([{"CPU": 0.0, "memory": 8e9}], ON_CPU, 2, is_population=False) == {"memory": 1e9}


@pytest.mark.parametrize(
    ("sizes", "concurrent"), [([16e9], 2), ([16e9], 7), ([16e9, 16e9], 2), ([16e9, 64e9], 5), ([10e9, 10e9, 10e9], 4)]
)
def test_a_population_s_processes_fit_as_often_as_trials_train(sizes: list[float], concurrent: int) -> None:
    nodes = [{"memory": size} for size in sizes]
    share = driver_bundle(nodes, ON_CPU, concurrent, is_population=True)["memory"]
    fit = sum(int(size // share) for size in sizes)
    assert concurrent / 2 < fit <= concurrent
