"""`concord cluster init local`, followed as it says: a head on loopback, a job on it, and its metrics scraped while it trains."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.api.cluster_files import init_cluster
from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks
from tests.integration.commands import ROOT, write_recipe

pytestmark = pytest.mark.ray

# What a run shows from its first evaluation on, and what a combination and a sweep would add.
SHOWN = {
    "concord_step",
    "concord_total_steps",
    "concord_workers",
    "concord_restarts",
    "concord_tokens_per_second",
    "concord_padding",
    "concord_peak_memory_gib",
    "concord_gradient_norm",
    "concord_skipped_steps",
    "concord_checkpoint_seconds",
    "concord_loss",
    "concord_dev_score",
}
SAMPLE = re.compile(r"^ray_(concord_\w+)\{(.*)\} (\S+)$", re.MULTILINE)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [own.getsockname()[1] for own in sockets]
    for own in sockets:
        own.close()
    return ports


class LocalCluster:
    """The folder that `init` wrote, with ports of its own; Ray looks for what it exports once a second."""

    def __init__(self, folder: Path) -> None:
        self.folder = init_cluster("local", folder / "made", storage=str(folder / "runs")).folder
        port, dashboard, metrics = free_ports(3)
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {
            "CONCORD_PORT": str(port),
            "CONCORD_DASHBOARD_PORT": str(dashboard),
            "CONCORD_METRICS_PORT": str(metrics),
            "CONCORD_FOLDER": str(self.folder),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RAY_metrics_report_interval_ms": "1000",
        }
        self.metrics = f"http://127.0.0.1:{metrics}/metrics"
        self.jobs = f"http://127.0.0.1:{dashboard}"
        self.ports = {port, dashboard}

    def node(self, action: str) -> subprocess.CompletedProcess[str]:
        return self.shell(f"bash {self.folder}/node.sh {action}")

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line], env=self.environment, capture_output=True, text=True, timeout=400, check=False
        )

    def client(self, *command: str) -> subprocess.Popen[str]:
        """A command with `ray.env` read, as `init` says."""
        line = f"set -a; . {self.folder}/ray.env; set +a; exec {shlex.join(command)}"
        return subprocess.Popen(
            ["bash", "-c", line], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def samples(self) -> dict[str, list[tuple[str, float]]]:
        """Name of each metric of ours to its tags and values; none where the agent does not answer yet."""
        try:
            with urllib.request.urlopen(self.metrics, timeout=20) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        found: dict[str, list[tuple[str, float]]] = {}
        for name, tags, value in SAMPLE.findall(text):
            found.setdefault(name, []).append((tags, float(value)))
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    local = LocalCluster(tmp_path_factory.mktemp("local"))
    try:
        started = local.node("head")
        assert started.returncode == 0, started.stderr
        yield local
    finally:
        local.node("stop")


def listening() -> dict[int, set[str]]:
    """Ports of IPv4 and IPv6 on which this machine listens, to the addresses, as the kernel writes them."""
    found: dict[int, set[str]] = {}
    for file in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(file).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                address, port = fields[1].split(":")
                found.setdefault(int(port, 16), set()).add(address)
    return found


def test_head_wants_its_token_and_listens_on_loopback(cluster: LocalCluster) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{cluster.jobs}/api/jobs/", timeout=20)
    assert refused.value.code == 401
    token = (cluster.folder / "token").read_text()
    request = urllib.request.Request(f"{cluster.jobs}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200
    heard = listening()
    assert {address for port in cluster.ports for address in heard[port]} <= {
        "0100007F",
        "0000000000000000FFFF00000100007F",
    }


def test_a_job_trains_and_its_metrics_are_scraped(cluster: LocalCluster, tmp_path: Path) -> None:
    write_tiny_tasks(tmp_path)
    build_tiny_bert(tmp_path / "encoder")
    phases = [{"sampling": {"name": "round_robin"}, "epochs": 2000, "steps_per_epoch": 10}]
    tree = tiny_config(tmp_path, name="seen", encoder={"name": str(tmp_path / "encoder")}, phases=phases)
    tree["cluster"] = {"workers": 1, "storage": str(tmp_path / "runs")}
    write_recipe(tmp_path / "recipe.yaml", tree)
    address = ["--address", cluster.jobs]
    submit = [*address, "--no-wait", "--submission-id", "seen", "--", "concord", "train", f"{tmp_path}/recipe.yaml"]
    with cluster.client("ray", "job", "submit", *submit) as submitted:
        told = submitted.communicate(timeout=120)[0]
    assert submitted.returncode == 0, told
    samples: dict[str, list[tuple[str, float]]] = {}
    for _ in range(300):
        samples = cluster.samples()
        if samples.keys() >= SHOWN:
            break
        time.sleep(1)
    with cluster.client("ray", "job", "logs", *address, "seen") as logs:
        text = logs.communicate(timeout=120)[0]
    with cluster.client("ray", "job", "stop", *address, "seen") as stopped:
        stopped.communicate(timeout=120)
    assert samples.keys() >= SHOWN, text[-2000:]
    assert all('run="seen"' in tags for tags, _ in samples["concord_step"])
    assert samples["concord_total_steps"][0][1] == 20_000
    assert 0 < samples["concord_step"][0][1] <= 20_000
    tasks = {re.search(r'task="(\w+)"', tags)[1] for tags, _ in samples["concord_loss"]}  # type: ignore[index]
    assert tasks == {"sst", "quora", "sts"}
    assert all(0 <= value <= 1 for _, value in samples["concord_padding"])
