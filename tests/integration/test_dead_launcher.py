"""Ranks whose `torchrun` is killed end by themselves, with one line, whatever they are at; the next start goes on."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.builders import tiny_config
from tests.integration.commands import TORCHRUN, Command, command_line, descendants, write_recipe

STEPS = 10**6


def _recipe(folder: Path, bert: Path, name: str) -> str:
    tree = tiny_config(
        folder,
        name=name,
        encoder={"name": str(bert)},
        phases=[{"sampling": {"name": "round_robin"}, "epochs": 1, "steps_per_epoch": STEPS}],
        training={"log_every": 1, "save_every": 5},
    )
    return str(write_recipe(folder / f"{name}.yaml", tree))


def _ranks(launcher: int) -> list[int]:
    """Those that have become what they are: before, each is a copy of its `torchrun`."""
    return [pid for pid in descendants(launcher) if "-m cluster.cli" in command_line(pid)]


def _wait_for_ranks(launcher: int) -> list[int]:
    deadline = time.monotonic() + 120
    while len(ranks := _ranks(launcher)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return ranks


@pytest.mark.parametrize("step", [None, 12])
def test_ranks_end_with_their_launcher(folder: Path, tiny_bert: Path, step: int | None) -> None:
    """`None`: while they are being imported, long before they look for each other."""
    name = f"launcher-{step}"
    with Command([*TORCHRUN, "train", _recipe(folder, tiny_bert, name), "--json"]) as running:
        if step:
            running.wait_for_step(step)
        ranks = _wait_for_ranks(running.pid)
        os.kill(running.pid, signal.SIGKILL)
        begun = time.monotonic()
        # Both hold the command's pipes: it ends once they have.
        _, _, err = running.finish()
        assert time.monotonic() - begun < 120
        assert not [pid for pid in ranks if "cluster.cli" in command_line(pid)]
    (line,) = [line for line in err.splitlines() if line.startswith("concord: ")]
    assert line.startswith("concord: torchrun at ")
    assert "Traceback" not in err
    told = line.split("has died; start again: the run ")[1]
    saved = (folder / "runs" / name / "checkpoints").glob("*/manifest.json")
    whole = [f"goes on from step {int(path.parent.name.removeprefix('step-'))}" for path in saved]
    assert told in (whole if step else ["begins anew"])
