"""Where workers fit, and what is said where they do not."""

from typing import Any

import pytest

from cluster.launch.resources import plan_resources, workers_that_fit
from multitask.config.cluster import ClusterConfig
from multitask.errors import UserError

Nodes = list[dict[str, float]]


@pytest.mark.parametrize(
    ("asked", "nodes", "workers_that_fit"),
    [
        # Four CPUs in all, but three on no node beside another worker.
        ({"cpus_per_worker": 3, "device": "cpu"}, [{"CPU": 3.0}, {"CPU": 2.0}, {"CPU": 2.0}], 1),
        ({"cpus_per_worker": 0.1, "device": "cpu"}, [{"CPU": 0.3}], 3),
        ({"cpus_per_worker": 2, "gpus_per_worker": 1, "device": "gpu"}, [{"CPU": 3.0, "GPU": 4.0}, {"CPU": 9.0}], 1),
        ({"cpus_per_worker": 2, "device": "gpu"}, [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 2.0, "GPU": 2.0}], 3),
    ],
)
def test_as_many_workers_fit_as_each_node_holds(asked: dict[str, Any], nodes: Nodes, workers_that_fit: int) -> None:
    plan = plan_resources(ClusterConfig(workers=workers_that_fit, **asked), nodes)
    assert plan.workers == workers_that_fit
    with pytest.raises(UserError, match=f"cluster.workers={workers_that_fit + 1}"):
        plan_resources(ClusterConfig(workers=workers_that_fit + 1, **asked), nodes)


def test_node_that_lacks_gpus_is_told_by_its_gpus() -> None:
    nodes = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}]
    with pytest.raises(UserError, match=r"only 0 of them fit \(1 worker with 1 CPU, 2 GPU each\).* 1 GPU$"):
        plan_resources(ClusterConfig(workers=1, device="gpu", gpus_per_worker=2), nodes)


@pytest.mark.parametrize(
    ("gpus", "share", "fit"),
    [
        (4, 0.4, 8),
        (4, 0.5, 8),
        (4, 0.25, 16),
        (1, 0.3, 3),
        (3, 0.6, 3),
        (4, 1, 4),
        (5, 2, 2),
        (10, 0.1, 100),
        (0.6, 0.3, 2),
    ],
)
def test_shares_of_a_gpu_are_cut_from_one_device_each(gpus: float, share: float, fit: int) -> None:
    assert workers_that_fit([{"CPU": 999.0, "GPU": gpus}], {"CPU": 1, "GPU": share}) == fit


def test_more_than_one_gpu_is_given_whole() -> None:
    with pytest.raises(UserError, match=r"cluster\.gpus_per_worker=1\.5: .* whole"):
        plan_resources(ClusterConfig(device="gpu", gpus_per_worker=1.5), [{"CPU": 8.0, "GPU": 4.0}])


def test_workers_of_one_run_share_no_gpu() -> None:
    nodes = [{"CPU": 4.0, "GPU": 1.0}]
    half = {"device": "gpu", "gpus_per_worker": 0.5}
    assert plan_resources(ClusterConfig(workers=1, **half), nodes).total == {"CPU": 1.0, "GPU": 0.5}
    with pytest.raises(UserError, match=r"gpus_per_worker=0\.5: the workers of one run cannot share a GPU"):
        plan_resources(ClusterConfig(workers=2, **half), nodes)


def test_plan_says_what_it_takes() -> None:
    plan = plan_resources(ClusterConfig(workers=3, device="gpu", cpus_per_worker=2), [{"CPU": 8.0, "GPU": 4.0}])
    assert plan.total == {"CPU": 6.0, "GPU": 3.0}
    assert plan.describe() == "3 workers with 2 CPU, 1 GPU each"
    with pytest.raises(UserError, match="has 0 CPU on 0 nodes"):
        plan_resources(ClusterConfig(device="cpu"), [])
