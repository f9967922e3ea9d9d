"""Training on a Ray of several hosts: the bits of one host, whatever happens to the others."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks
from tests.hosts.lab import Lab
from tests.hosts.ray_cluster import RayCluster, saved_step, wait_until
from tests.integration.commands import ROOT, TORCHRUN, environment, final_files, result, write_recipe

# Twelve epochs of ten rounds.
STEPS = 120
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with Lab(hosts=3) as lab:
        cluster = RayCluster(lab)
        cluster.start()
        write_tiny_tasks(lab.shared)
        build_tiny_bert(lab.shared / "encoder", dropout=0.1)
        yield cluster


def _recipe(lab: Lab, name: str, **changes: Any) -> str:
    tree = tiny_config(
        lab.shared,
        name=name,
        encoder={"dropout": 0.1},
        zero={"stage": 2},
        phases=[{"sampling": {"name": "round_robin"}, "epochs": 12}],
        training={"save_every": 10, "evaluate_every": 40, "log_every": 10},
        cluster={"workers": 2, "cpus_per_worker": 1, "collective_timeout": 60, "export": False},
    )
    return str(write_recipe(lab.shared / f"{name}.yaml", tree | changes))


@pytest.fixture(scope="module")
def undisturbed(cluster: RayCluster) -> dict[str, str]:
    """The checksums of the same run by two processes of one host, which know no Ray."""
    recipe = _recipe(cluster.lab, "one-host")
    done = subprocess.run([*TORCHRUN, "train", recipe], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return _weights(cluster.lab.shared / "runs/one-host")


def _weights(run: Path) -> dict[str, str]:
    """Step and checksums of the last checkpoint, but for what names the attempt."""
    return {name: checksum for name, checksum in final_files(run).items() if name != "state.json"}


def _finish(job: "subprocess.Popen[str]", run: Path) -> str:
    out, _ = job.communicate(timeout=400)
    assert job.returncode == 0, out[-4000:]
    assert result(run)["status"] == "finished"
    return out


def test_a_job_on_two_hosts_ends_in_the_bits_of_one_host(cluster: RayCluster, undisturbed: dict[str, str]) -> None:
    run = cluster.lab.shared / "runs/two-hosts"
    job = cluster.submit("concord", "train", _recipe(cluster.lab, "two-hosts"))
    wait_until(lambda: saved_step(run) or job.poll() is not None, "a checkpoint")
    # Each of the hosts has a worker; the head, which has no CPUs, has none.
    if job.poll() is None:
        workers = [any("RayTrainWorker" in title for title in host.processes().values()) for host in cluster.lab.hosts]
        assert workers == [False, True, True]
    _finish(job, run)
    assert _weights(run) == undisturbed


def test_a_host_that_loses_power_costs_no_bit(cluster: RayCluster, undisturbed: dict[str, str]) -> None:
    lost = cluster.lab.host(3)
    run = cluster.lab.shared / "runs/power"
    job = cluster.submit("concord", "train", _recipe(cluster.lab, "power"))
    wait_until(lambda: saved_step(run) >= 20, "a checkpoint")
    lost.kill()
    assert saved_step(run) < STEPS
    lost.start()
    cluster.start_on([lost])
    _finish(job, run)
    assert _weights(run) == undisturbed


@pytest.mark.long
def test_a_cut_cable_costs_no_bit(cluster: RayCluster, undisturbed: dict[str, str]) -> None:
    lost = cluster.lab.host(2)
    run = cluster.lab.shared / "runs/cable"
    job = cluster.submit("concord", "train", _recipe(cluster.lab, "cable"))
    wait_until(lambda: saved_step(run) >= 20, "a checkpoint")
    lost.cut()
    # Its raylet is given up by the head and ends when it hears so; what trained there must not write any more.
    wait_until(lambda: not _is_alive(cluster, lost.address), "the end of a host without network")
    lost.mend()
    assert saved_step(run) < STEPS
    wait_until(lambda: not any("raylet" in title for title in lost.processes().values()), "the raylet's end")
    cluster.start_on([lost])
    _finish(job, run)
    assert _weights(run) == undisturbed


@pytest.mark.long
def test_a_worker_that_is_stopped_is_told_with_its_place_and_costs_no_bit(
    cluster: RayCluster, undisturbed: dict[str, str]
) -> None:
    run = cluster.lab.shared / "runs/stopped"
    job = cluster.submit("concord", "train", _recipe(cluster.lab, "stopped"))
    wait_until(lambda: saved_step(run) >= 20, "a checkpoint")
    (worker,) = (pid for pid, title in cluster.lab.host(3).processes().items() if "RayTrainWorker" in title)
    os.kill(worker, signal.SIGSTOP)
    out = _finish(job, run)
    assert _weights(run) == undisturbed
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
