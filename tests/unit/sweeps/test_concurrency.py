"""How many trials a cluster holds, worked out before anything starts."""

import pytest

from cluster.sweeps.concurrency import driver_bundle, plan_concurrency
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


def test_a_trial_s_own_process_takes_nothing_that_workers_need() -> None:
    assert driver_bundle([CPU_NODE], 2, is_population=False) == {"memory": 1.0}


@pytest.mark.parametrize(
    ("sizes", "concurrent"), [([16e9], 2), ([16e9], 7), ([16e9, 16e9], 2), ([16e9, 64e9], 5), ([10e9, 10e9, 10e9], 4)]
)
def test_a_population_s_processes_fit_as_often_as_trials_train(sizes: list[float], concurrent: int) -> None:
    share = driver_bundle([{"memory": size} for size in sizes], concurrent, is_population=True)["memory"]
    fit = sum(int(size // share) for size in sizes)
    assert concurrent / 2 < fit <= concurrent
