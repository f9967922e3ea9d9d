"""The main job on a real local Ray: two workers, W&B, a worker killed, the whole run killed, too much asked for."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.builders import tiny_config
from tests.integration.commands import (
    CONCORD,
    Command,
    command_line,
    descendants,
    final_files,
    result,
    run_concord,
    write_recipe,
)
from tests.wandb_reader import OfflineRun

pytestmark = pytest.mark.ray


def _tree(folder: Path, bert: Path, name: str, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "name": name,
        "encoder": {"name": str(bert), "dropout": 0.2},
        "phases": [{"sampling": {"name": "round_robin"}, "epochs": 40}],
        "training": {"save_every": 20, "evaluate_every": 200, "log_every": 10},
        "cluster": {"workers": 2, "cpus_per_worker": 0.5, "spares": True},
        "tracking": {"mode": "offline"},
    }
    return tiny_config(folder, **(settings | changes))


@pytest.fixture(scope="module")
def whole(folder: Path, tiny_bert: Path) -> Path:
    """The run folder of an uninterrupted run."""
    recipe = write_recipe(folder / "whole.yaml", _tree(folder, tiny_bert, "whole"))
    done = run_concord("train", str(recipe))
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "whole"


def test_run_leaves_result_export_and_one_wandb_run(whole: Path) -> None:
    told = result(whole)
    assert told["status"] == "finished"
    assert told["step"] == told["steps"] == 400
    assert told["workers"] == 2
    assert {"start", "data", "forward/backward", "communicate", "combine", "optimizer", "evaluate", "save"} <= set(
        told["seconds"]
    )
    assert json.loads((whole / "export" / "concord.json").read_text())["step"] == told["best_step"]
    tracked = list((whole / "wandb").glob("offline-run-*"))
    assert len(tracked) == 1
    run = OfflineRun(tracked[0])
    assert run.points("dev/mean") == [(h["step"], pytest.approx(h["dev/mean"])) for h in told["history"]]
    assert run.points("combination/cosine/sst-quora")
    assert run.exit_code == 0


def test_killed_worker_is_replaced_and_ends_with_the_same_bits(folder: Path, tiny_bert: Path, whole: Path) -> None:
    recipe = write_recipe(folder / "worker.yaml", _tree(folder, tiny_bert, "worker"))
    run = folder / "runs" / "worker"
    with Command([*CONCORD, "train", str(recipe), "--json"]) as command:
        command.wait_for_step(60)
        workers = [pid for pid in descendants(command.pid) if "RayTrainWorker" in command_line(pid)]
        assert len(workers) == 2
        os.kill(workers[1], signal.SIGKILL)
        code, _, error = command.finish()
    assert code == 0, error
    assert result(run)["resumed_step"] > 0
    _same_run(whole, run)
    assert len(list((run / "wandb").glob("offline-run-*"))) == 1


def test_killed_run_goes_on_to_the_same_bits(folder: Path, tiny_bert: Path, whole: Path) -> None:
    recipe = write_recipe(folder / "driver.yaml", _tree(folder, tiny_bert, "driver"))
    run = folder / "runs" / "driver"
    with Command([*CONCORD, "train", str(recipe), "--json"]) as command:
        command.wait_for_step(60)
        command.kill()
    done = run_concord("train", str(recipe))
    assert done.returncode == 0, done.stderr
    assert result(run)["resumed_step"] > 0
    _same_run(whole, run)


def _same_run(first: Path, second: Path) -> None:
    one, other = final_files(first), final_files(second)
    assert {k: v for k, v in one.items() if k != "state.json"} == {k: v for k, v in other.items() if k != "state.json"}
    assert result(first)["history"] == result(second)["history"]


def test_more_than_the_cluster_has_is_refused_at_once(folder: Path, tiny_bert: Path) -> None:
    recipe = write_recipe(folder / "large.yaml", _tree(folder, tiny_bert, "large"))
    done = run_concord("train", str(recipe), "cluster.workers=500", "cluster.cpus_per_worker=2")
    assert done.returncode == 2
    assert "cluster.workers=500 asks for 1000 CPU" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (folder / "runs" / "large").exists()


def test_what_workers_meet_and_the_user_can_mend_is_one_line(folder: Path, tiny_bert: Path, whole: Path) -> None:
    """The name of a finished run with another learning rate: only the workers look into the run folder."""
    recipe = write_recipe(folder / "again.yaml", _tree(folder, tiny_bert, "whole"))
    done = run_concord("train", str(recipe), "optimizer.lr=0.5", "cluster.workers=1")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "differs in optimizer.lr" in done.stderr
