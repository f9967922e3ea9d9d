"""A run that was killed goes on and ends with the bits of one that was not: kill -9 in the middle of an epoch, dropout on."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

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


def _tree(folder: Path, bert: Path, name: str, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "name": name,
        "encoder": {"name": str(bert), "dropout": 0.2},
        "phases": [{"sampling": {"name": "round_robin"}, "epochs": 3}],
        "training": {"save_every": 4, "log_every": 1, "clip_norm": 1.0},
    }
    return tiny_config(folder, **(settings | changes))


@pytest.fixture(scope="module")
def whole(folder: Path, tiny_bert: Path) -> Path:
    """The run folder of an uninterrupted run in one process."""
    recipe = write_recipe(folder / "whole.yaml", _tree(folder, tiny_bert, "whole"))
    done = run_concord("train", str(recipe), "--no-ray")
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "whole"


def _same_run(first: Path, second: Path) -> None:
    one, other = final_files(first), final_files(second)
    # The state holds the config, whose name differs; the shards hold weights and optimizer.
    assert {k: v for k, v in one.items() if k != "state.json"} == {k: v for k, v in other.items() if k != "state.json"}
    assert result(first)["history"] == result(second)["history"]
    assert result(first)["best_step"] == result(second)["best_step"]


def test_killed_process_goes_on_to_the_same_bits(folder: Path, tiny_bert: Path, whole: Path) -> None:
    recipe = write_recipe(folder / "killed.yaml", _tree(folder, tiny_bert, "killed"))
    with Command([*CONCORD, "train", str(recipe), "--no-ray", "--json"]) as command:
        command.wait_for_step(14)
        command.kill()
    run = folder / "runs" / "killed"
    assert result(run)["status"] == "running"
    done = run_concord("train", str(recipe), "--no-ray")
    assert done.returncode == 0, done.stderr
    assert 0 < result(run)["resumed_step"] < 30
    _same_run(whole, run)


def test_killed_rank_goes_on_to_the_same_bits(folder: Path, tiny_bert: Path) -> None:
    runs = {}
    for name in ("two", "two_killed"):
        recipe = write_recipe(folder / f"{name}.yaml", _tree(folder, tiny_bert, name, zero={"stage": 2}))
        runs[name] = [*TORCHRUN, "train", str(recipe), "--json"]
    with Command(runs["two"]) as command:
        code, _, error = command.finish()
        assert result(folder / "runs" / "two")["status"] == "finished", error
    with Command(runs["two_killed"]) as command:
        command.wait_for_step(14)
        ranks = [pid for pid in descendants(command.pid) if "cluster.cli" in command_line(pid)]
        os.kill(ranks[-1], signal.SIGKILL)
        code, _, _ = command.finish()
        assert code != 0
    with Command(runs["two_killed"]) as command:
        command.finish()
    assert 0 < result(folder / "runs" / "two_killed")["resumed_step"] < 30
    _same_run(folder / "runs" / "two", folder / "runs" / "two_killed")


@pytest.mark.parametrize("damage", ["altered", "torn", "no manifest"])
def test_damaged_checkpoint_is_left_out(
    folder: Path, tiny_bert: Path, whole: Path, concord: Callable[..., Any], damage: str
) -> None:
    name = f"damaged_{damage.replace(' ', '_')}"
    run = folder / "runs" / name
    shutil.copytree(whole, run)
    newest = sorted((run / "checkpoints").iterdir())[-1]
    shard = next(newest.glob("shard-*"))
    data = bytearray(shard.read_bytes())
    if damage == "altered":
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
    elif damage == "torn":
        shard.write_bytes(data[: len(data) // 2])
    else:
        (newest / "manifest.json").unlink()
    recipe = write_recipe(folder / f"{name}.yaml", _tree(folder, tiny_bert, name))
    done = concord("train", str(recipe), "--no-ray")
    assert done.code == 0, done.err
    told = result(run)
    assert told["resumed_step"] < told["step"]
    assert newest.name in told["notes"][0]
    _same_run(whole, run)


def test_other_number_of_ranks_goes_on_from_the_same_checkpoint(folder: Path, tiny_bert: Path) -> None:
    """Two ranks under ZeRO 3 take over from one under ZeRO 1 and end where one process would, to rounding."""
    trees = {}
    for name in ("one", "moved"):
        trees[name] = _tree(
            folder,
            tiny_bert,
            name,
            encoder={"name": str(tiny_bert), "dropout": 0.0},
            optimizer={"name": "adamw", "lr": 1e-3, "eps": 1e-4},
        )
    one = write_recipe(folder / "one.yaml", trees["one"])
    assert run_concord("train", str(one), "--no-ray").returncode == 0
    moved = write_recipe(folder / "moved.yaml", trees["moved"])
    with Command([*CONCORD, "train", str(moved), "--no-ray", "--json"]) as command:
        command.wait_for_step(14)
        command.kill()
    with Command([*TORCHRUN, "train", str(moved), "zero.stage=3"]) as command:
        _, _, error = command.finish()
    assert result(folder / "runs" / "moved")["status"] == "finished", error
    first, second = (load_file(folder / "runs" / n / "export" / "model.safetensors") for n in ("one", "moved"))
    for parameter, value in first.items():
        np.testing.assert_allclose(second[parameter], value, rtol=1e-4, atol=1e-5, err_msg=parameter)
