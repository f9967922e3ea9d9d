"""SIGTERM and Ctrl-C end a run after its step, which is saved, and the same command goes on to the same bits."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.builders import tiny_config
from tests.integration.commands import (
    CONCORD,
    TORCHRUN,
    Command,
    command_line,
    descendants,
    final_files,
    result,
    run_concord,
    write_recipe,
)

STEPS = 60


def _recipe(folder: Path, bert: Path, name: str) -> str:
    """Nothing is saved or evaluated before the end."""
    tree: dict[str, Any] = tiny_config(
        folder,
        name=name,
        encoder={"name": str(bert), "dropout": 0.2},
        phases=[{"sampling": {"name": "round_robin"}, "epochs": 1, "steps_per_epoch": STEPS}],
        training={"log_every": 1},
        cluster={"workers": 2, "cpus_per_worker": 0.5},
    )
    return str(write_recipe(folder / f"{name}.yaml", tree))


def _interrupted(command: list[str], number: int, run: Path) -> int:
    """Signal the command after some steps; gives the step that it saved."""
    with Command(command) as running:
        running.wait_for_step(7)
        os.kill(running.pid, number)
        code, out, err = running.finish()
    told = result(run)
    assert told["status"] == "interrupted", err
    assert 7 <= told["step"] < STEPS
    assert final_files(run)["step"] == str(told["step"])
    assert told["notes"] == [
        f"interrupted after step {told['step']}, which is saved: the same command goes on from there"
    ]
    assert "Traceback" not in err
    assert '"interrupted"' in out
    assert code == 130
    return int(told["step"])


def _same_bits(one: Path, other: Path) -> None:
    files = [{k: v for k, v in final_files(run).items() if k != "state.json"} for run in (one, other)]
    assert files[0] == files[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_process(folder: Path, tiny_bert: Path, number: int) -> None:
    whole, cut = "whole", f"cut-{number}"
    if not (folder / "runs" / whole).exists():
        assert run_concord("train", _recipe(folder, tiny_bert, whole), "--no-ray").returncode == 0
    command = ["train", _recipe(folder, tiny_bert, cut), "--no-ray"]
    step = _interrupted([*CONCORD, *command, "--json"], number, folder / "runs" / cut)
    done = run_concord(*command)
    assert done.returncode == 0, done.stderr
    assert result(folder / "runs" / cut)["resumed_step"] == step
    _same_bits(folder / "runs" / whole, folder / "runs" / cut)


def test_ranks_of_torchrun_end_after_the_same_step(folder: Path, tiny_bert: Path) -> None:
    """The launcher passes the signal on to each rank, at whatever step that rank is, and has an exit code of its own."""
    run = folder / "runs" / "ranks"
    with Command([*TORCHRUN, "train", _recipe(folder, tiny_bert, "ranks"), "--json"]) as running:
        running.wait_for_step(7)
        os.kill(running.pid, signal.SIGTERM)
        _, _, err = running.finish()
    assert result(run)["status"] == "interrupted", err
    assert final_files(run)["step"] == str(result(run)["step"])


@pytest.mark.ray
def test_workers_of_ray_save_when_the_driver_is_signalled(folder: Path, tiny_bert: Path) -> None:
    whole, cut = _recipe(folder, tiny_bert, "ray-whole"), _recipe(folder, tiny_bert, "ray-cut")
    assert run_concord("train", whole).returncode == 0
    step = _interrupted([*CONCORD, "train", cut, "--json"], signal.SIGTERM, folder / "runs" / "ray-cut")
    done = run_concord("train", cut)
    assert done.returncode == 0, done.stderr
    assert result(folder / "runs" / "ray-cut")["resumed_step"] == step
    _same_bits(folder / "runs" / "ray-whole", folder / "runs" / "ray-cut")


@pytest.mark.ray
def test_a_run_whose_workers_have_not_begun_ends_at_once(folder: Path, tiny_bert: Path) -> None:
    """Signalled when the first worker process is there, which has much to import before it can listen."""
    with Command([*CONCORD, "train", _recipe(folder, tiny_bert, "early"), "--json"]) as running:
        for _ in range(2400):
            if any("TrainWorker" in command_line(pid) for pid in descendants(running.pid)):
                break
            time.sleep(0.05)
        os.kill(running.pid, signal.SIGTERM)
        code, _, err = running.finish()
    assert (code, "Traceback" in err) == (130, False), err
    assert not list((folder / "runs" / "early").glob("checkpoints/*"))
