"""Gradients over the virtual network: ranks on hosts of their own write the checkpoints of ranks on one host. No Ray."""

import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks
from tests.distributed.ranks import run_ranks
from tests.hosts.lab import Lab

pytestmark = pytest.mark.slow
STEPS = 6
CASES = list(product(("sum", "pcgrad"), (1, 2, 3)))


@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.long)])
def test_ranks_on_hosts_write_the_bits_of_ranks_on_one_host(world: int, tmp_path: Path) -> None:
    write_tiny_tasks(tmp_path)
    build_tiny_bert(tmp_path / "encoder", dropout=0.1)
    run_ranks(world, _jobs(tmp_path, "one"), tmp_path / "one", STEPS, save=True)
    with Lab(hosts=world) as lab:
        _run_on_hosts(lab, _jobs(tmp_path, "many"), tmp_path)
    for method, stage in CASES:
        one, many = (_shards(tmp_path / "runs" / f"{where}-{method}-{stage}") for where in ("one", "many"))
        assert len(one) == world
        assert many == one, f"{method}, ZeRO {stage}"


def _jobs(folder: Path, where: str) -> list[dict[str, Any]]:
    return [
        tiny_config(
            folder,
            name=f"{where}-{method}-{stage}",
            encoder={"dropout": 0.1},
            zero={"stage": stage},
            combination={"name": method},
        )
        for method, stage in CASES
    ]


def _run_on_hosts(lab: Lab, jobs: list[dict[str, Any]], folder: Path) -> None:
    job = folder / "many.json"
    job.write_text(json.dumps({"jobs": jobs, "steps": STEPS, "out": str(folder), "save": True}))
    where = {"WORLD_SIZE": str(len(lab.hosts)), "LOCAL_RANK": "0", "MASTER_ADDR": "10.77.0.1", "MASTER_PORT": "29500"}
    command = [sys.executable, "-m", "tests.hosts.rank", str(job)]
    ranks = [host.popen(*command, environment=where | {"RANK": str(rank)}) for rank, host in enumerate(lab.hosts)]
    for rank in ranks:
        out, _ = rank.communicate(timeout=400)
        assert rank.returncode == 0, out[-3000:]


def _shards(run: Path) -> dict[str, str]:
    manifest = json.loads((run / f"checkpoints/step-{STEPS:08d}/manifest.json").read_text())
    return {file: checksum for file, checksum in manifest["files"].items() if file.startswith("shard-")}
