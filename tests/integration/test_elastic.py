"""Hosts of a running cluster are lost, join and are taken away with notice: the run follows, and ends as one that nothing happened to."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from tests.builders import tiny_config
from tests.integration.commands import CONCORD, Command, result, run_concord, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.long]
HOST = {"num_cpus": 1, "object_store_memory": 80_000_000}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without CPUs, and two hosts with one each."""
    cluster = Cluster(initialize_head=True, head_node_args={**HOST, "num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(**HOST)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def _recipe(folder: Path, bert: Path, name: str, **cluster: Any) -> str:
    tree = tiny_config(
        folder,
        name=name,
        encoder={"name": str(bert), "dropout": 0.1},
        phases=[{"sampling": {"name": "round_robin"}, "epochs": 250}],
        # Adam divides rounding errors by their own size where a gradient is zero; eps keeps them small.
        optimizer={"name": "adamw", "lr": 1e-4, "eps": 1e-4},
        training={"save_every": 50, "evaluate_every": 5000, "log_every": 1},
        cluster={"spares": True, **cluster},
        tracking={"mode": "disabled"},
    )
    return str(write_recipe(folder / f"{name}.yaml", tree))


def _next_start(events: Iterator[dict[str, Any]], steps: int = 30) -> tuple[int, int]:
    """Workers and step of the next start of the workers, once they have trained for some steps more."""
    start: dict[str, Any] = {}
    for event in events:
        if event["event"] == "start":
            start = event
        if start and event["event"] == "report" and event["step"] >= start["resumed_step"] + steps:
            return start["workers"], start["resumed_step"]
    raise AssertionError("the run ended before")


def _drain(cluster: Cluster, node: Any) -> None:
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", cluster.address]
    command += ["--node-id", node.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    command += ["--reason-message", "spot", "--deadline-remaining-seconds", "60"]
    subprocess.run(command, check=True, capture_output=True)


def test_run_follows_hosts_that_are_lost_join_and_are_drained(folder: Path, tiny_bert: Path, cluster: Cluster) -> None:
    lost = cluster.list_all_nodes()[-1]
    recipe = _recipe(folder, tiny_bert, "elastic", workers=[1, 2], address=cluster.address, max_failures=1)
    with Command([*CONCORD, "train", recipe, "--json"]) as command:
        events = command.events()
        assert _next_start(events) == (2, 0)
        cluster.remove_node(lost, allow_graceful=False)
        workers, lost_at = _next_start(events)
        assert workers == 1
        joined = cluster.add_node(**HOST)
        workers, grown_at = _next_start(events)
        assert workers == 2
        assert grown_at > lost_at
        _drain(cluster, joined)
        workers, drained_at = _next_start(events)
        assert workers == 1
        assert drained_at > grown_at
        code, _, error = command.finish()
    assert code == 0, error
    alone = _recipe(folder, tiny_bert, "alone")
    assert run_concord("train", alone, "--no-ray").returncode == 0
    run, whole = (folder / "runs" / name for name in ("elastic", "alone"))
    for key in ("status", "step", "rows", "tokens", "trained_steps"):
        assert result(run)[key] == result(whole)[key], key
    _same_losses(run, whole)


def _same_losses(run: Path, whole: Path) -> None:
    """At each step, to 1e-4 of the loss; a loss near zero, which is mostly rounding, to 1e-6."""
    told = [json.loads((folder / "history.json").read_text())["train"] for folder in (run, whole)]
    losses = [{(p["step"], key): v for p in points for key, v in p.items() if "/loss/" in key} for points in told]
    common = losses[0].keys() & losses[1].keys()
    assert len(common) > 1000
    wrong = [place for place in common if losses[0][place] != pytest.approx(losses[1][place], rel=1e-4, abs=1e-6)]
    assert not wrong, wrong[:10]
