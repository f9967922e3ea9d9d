"""Training on a Ray of several hosts: the bits of one host, whatever happens to the others."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.lab import Lab
from tests.hosts.lab_run import lab_recipe, run_on_one_host, weights_of, write_inputs
from tests.hosts.ray_cluster import RayCluster, saved_step, wait_until
from tests.integration.commands import result

STEPS = 120
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with Lab(hosts=3) as lab:
        cluster = RayCluster(lab)
        cluster.start()
        write_inputs(lab)
        yield cluster


def _recipe(lab: Lab, name: str) -> str:
    training = {"save_every": 10, "evaluate_every": 40, "log_every": 10}
    return lab_recipe(lab, name, epochs=STEPS // 10, training=training, cpus_per_worker=1, collective_timeout=60)


@pytest.fixture(scope="module")
def undisturbed(cluster: RayCluster) -> dict[str, str]:
    """The checksums of the same run on one host."""
    return run_on_one_host(_recipe(cluster.lab, "one-host"), cluster.lab.shared / "runs/one-host")


def _begin(cluster: RayCluster, name: str, step: int = 20) -> tuple["subprocess.Popen[str]", Path]:
    """Submit the run; gives the job and the run's folder when it has saved step `step`, or has ended."""
    run = cluster.lab.shared / "runs" / name
    job = cluster.submit("concord", "train", _recipe(cluster.lab, name))
    wait_until(lambda: saved_step(run) >= step or job.poll() is not None, "a checkpoint")
    return job, run


def _finish(job: "subprocess.Popen[str]", run: Path) -> str:
    out, _ = job.communicate(timeout=400)
    assert job.returncode == 0, out[-4000:]
    assert result(run)["status"] == "finished"
    return out


def test_a_job_on_two_hosts_ends_in_the_bits_of_one_host(cluster: RayCluster, undisturbed: dict[str, str]) -> None:
    job, run = _begin(cluster, "two-hosts", step=1)
    # Each of the hosts has a worker; the head, which has no CPUs, has none.
    if job.poll() is None:
        workers = [any("RayTrainWorker" in title for title in host.processes().values()) for host in cluster.lab.hosts]
        assert workers == [False, True, True]
    _finish(job, run)
    assert weights_of(run) == undisturbed


def test_a_host_that_loses_power_costs_no_bit(cluster: RayCluster, undisturbed: dict[str, str]) -> None:
    lost = cluster.lab.host(3)
    job, run = _begin(cluster, "power")
    lost.kill()
    assert saved_step(run) < STEPS
    lost.start()
    cluster.start_on([lost])
    _finish(job, run)
    assert weights_of(run) == undisturbed


@pytest.mark.long
@pytest.mark.parametrize("stage", [1, 3])
def test_a_job_under_each_zero_stage_ends_in_the_bits_of_one_host(cluster: RayCluster, stage: int) -> None:
    """A worker is killed. Stage 2 is that of the other tests."""
    training = {"save_every": 10, "evaluate_every": 30, "log_every": 10}
    here, there = (
        lab_recipe(cluster.lab, name, epochs=6, training=training, stage=stage, cpus_per_worker=1)
        for name in (f"zero{stage}-here", f"zero{stage}-there")
    )
    run = cluster.lab.shared / f"runs/zero{stage}-there"
    job = cluster.submit("concord", "train", there)
    wait_until(lambda: saved_step(run) >= 20 or job.poll() is not None, "a checkpoint")
    (worker,) = (pid for pid, title in cluster.lab.host(2).processes().items() if "RayTrainWorker" in title)
    os.kill(worker, signal.SIGKILL)
    _finish(job, run)
    assert weights_of(run) == run_on_one_host(here, cluster.lab.shared / f"runs/zero{stage}-here")


@pytest.mark.long
def test_a_cut_cable_costs_no_bit(cluster: RayCluster, undisturbed: dict[str, str]) -> None:
    lost = cluster.lab.host(2)
    job, run = _begin(cluster, "cable")
    lost.cut()
    # Its raylet is given up by the head and ends when it hears so; what trained there must not write any more.
    wait_until(lambda: not _is_alive(cluster, lost.address), "the end of a host without network")
    lost.mend()
    assert saved_step(run) < STEPS
    wait_until(lambda: not any("raylet" in title for title in lost.processes().values()), "the raylet's end")
    cluster.start_on([lost])
    _finish(job, run)
    assert weights_of(run) == undisturbed


@pytest.mark.long
def test_a_worker_that_is_stopped_is_told_with_its_place_and_costs_no_bit(
    cluster: RayCluster, undisturbed: dict[str, str]
) -> None:
    job, run = _begin(cluster, "stopped")
    (worker,) = (pid for pid, title in cluster.lab.host(3).processes().items() if "RayTrainWorker" in title)
    os.kill(worker, signal.SIGSTOP)
    out = _finish(job, run)
    assert weights_of(run) == undisturbed
    # Where it was when it last answered, which may have been before the first step.
    place = r"( \([^)]*\))?: its process gave no sign of life for 30 s; it is in .+ \([\w.]+:\d+\)"
    assert re.search(rf"rank \d on host3{place}", out), out[-5000:]
    assert not Path(f"/proc/{worker}").exists()


def _is_alive(cluster: RayCluster, address: str) -> bool:
    nodes = cluster.run(
        "ray", "list", "nodes", "--filter", f"node_ip={address}", "--filter", "state=ALIVE", "--format=json"
    )
    return address in nodes.stdout


def test_storage_that_is_not_shared_is_refused_with_one_line(cluster: RayCluster) -> None:
    lab = cluster.lab
    recipe = _recipe(lab, "unshared")
    job = cluster.submit("concord", "train", recipe, f"cluster.storage={lab.unshared}/runs")
    out, _ = job.communicate(timeout=300)
    assert job.returncode == 1
    assert out.count("Traceback") == 0
    line = next(line for line in out.splitlines() if "cluster.storage" in line)
    assert str(lab.unshared) in line
    assert not shutil.rmtree(lab.unshared / "runs", ignore_errors=True)
