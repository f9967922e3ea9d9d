"""A sweep of 8 trials over three hosts of a lab: two are killed, one joins; it ends with the scores of an undisturbed one."""

import json
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml

from tests.builders import tiny_config
from tests.chaos.driver import Driver
from tests.hosts.ray_cluster import RayCluster
from tests.integration.commands import CONCORD, ROOT, environment, write_recipe

_SPACE = {"parameters": {"optimizer.lr": {"loguniform": [1.0e-4, 1.0e-2]}}}
_BOUND_S = 900.0
TRIALS = 8


def disturb_sweep(cluster: RayCluster, seed: int) -> bool:
    """Run both, and say whether they came to the same."""
    generator, lab = random.Random(seed), cluster.lab
    arguments = _arguments(lab.shared)
    alone = [*CONCORD, *arguments, "--concurrent", "2", "--name", "whole"]
    done = subprocess.run(alone, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    # The third host is not there at first.
    cluster.start_on([lab.host(1)])
    cluster.start_on([lab.host(2), lab.host(3)])
    folder = lab.shared / "runs/lab"
    driver, begun = Driver(cluster, *arguments, "--concurrent", "2", "--name", "lab"), time.monotonic()
    driver.start()
    for number, act in ((1, "kill 2"), (2, "join 4"), (4, "kill 3")):
        _wait(driver, folder, number)
        time.sleep(generator.uniform(0, 5))
        host = lab.host(int(act[-1]))
        if act.startswith("kill"):
            host.kill()
        else:
            cluster.start_on([host])
        print(f"{time.monotonic() - begun:.0f} s, {_done(folder)} trials done: {act}", flush=True)
    _wait(driver, folder, TRIALS + 1)
    same = _scores(folder) == _scores(lab.shared / "runs/whole")
    print(
        f"{_done(folder)} trials after {time.monotonic() - begun:.0f} s, started {driver.begun} times, same scores: {same}"
    )
    if not same:
        print("".join(driver.last_lines), _scores(folder), _scores(lab.shared / "runs/whole"))
    return same


def _arguments(place: Path) -> list[str]:
    tree = tiny_config(
        place,
        name="tiny",
        encoder={"dropout": 0.1},
        phases=[{"sampling": {"name": "round_robin"}, "epochs": 8}],
        training={"save_every": 10},
        cluster={"export": False},
    )
    recipe = str(write_recipe(place / "sweep.yaml", tree))
    (place / "space.yaml").write_text(yaml.safe_dump(_SPACE), encoding="utf-8")
    options = [
        "--space",
        str(place / "space.yaml"),
        "--trials",
        str(TRIALS),
        "--evaluations",
        "2",
        "--search",
        "random",
    ]
    return ["sweep", "run", recipe, *options, "--storage", str(place / "runs"), "--json"]


def _wait(driver: Driver, folder: Path, trials: int) -> None:
    """Until so many trials are done, or the sweep is."""
    ends = time.monotonic() + _BOUND_S
    while driver.keep_up() and _done(folder) < trials:
        assert time.monotonic() < ends, "".join(driver.last_lines)
        time.sleep(0.3)


def _trials(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("trials/*/trial.json"))]


def _done(folder: Path) -> int:
    return sum(trial["status"] not in ("running", "pending") for trial in _trials(folder))


def _scores(folder: Path) -> list[Any]:
    """Number, sample, status and scores of each trial."""
    told = [
        (trial["number"], trial["sample"], trial["status"], [report["scores"] for report in trial["reports"]])
        for trial in _trials(folder)
    ]
    return json.loads(json.dumps(told))
