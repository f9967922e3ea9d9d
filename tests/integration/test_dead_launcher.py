"""What has lost its `torchrun` or its Ray ends by itself, with one line, whatever it is at; the next start goes on."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from cluster.launch.local_ray import local_ray
from multitask.errors import UserError
from tests.builders import tiny_config
from tests.integration.commands import CONCORD, TORCHRUN, Command, command_line, descendants, write_recipe

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


def _told(err: str, who: str) -> str:
    (line,) = [line for line in err.splitlines() if line.startswith("concord: ")]
    assert line.startswith(f"concord: {who} at ")
    assert "Traceback" not in err
    return line.split("has died; start again: the run ")[1]


def _wholly_saved(folder: Path, name: str) -> list[str]:
    saved = (folder / "runs" / name / "checkpoints").glob("*/manifest.json")
    return [f"goes on from step {int(path.parent.name.removeprefix('step-'))}" for path in saved]


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
    assert _told(err, "torchrun") in (_wholly_saved(folder, name) if step else ["begins anew"])


@pytest.mark.ray
@pytest.mark.slow
def test_a_raylet_that_ends_in_good_order_is_told_of(folder: Path, tiny_bert: Path) -> None:
    """A raylet ends itself when its agent has died; Ray then ended the driver, which owned an object, without a word."""
    recipe = _recipe(folder, tiny_bert, "agent")
    with Command([*CONCORD, "train", recipe, "--json", "cluster.cpus_per_worker=0.5"]) as running:
        running.wait_for_step(12)
        mine = descendants(running.pid)
        (agent,) = [pid for pid in mine if "RuntimeEnvAgent" in command_line(pid)]
        os.kill(agent, signal.SIGKILL)
        code, _, err = running.finish()
        assert code == 1
        assert _told(err, "the raylet of this host") in _wholly_saved(folder, "agent")
        assert not [pid for pid in mine if "ray" in command_line(pid)]


def test_a_ray_that_cannot_start_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of what a kill of its raylet makes of `ray.init`, after half a minute."""

    def fail(**_: object) -> None:
        raise Exception("The current node timed out during startup. This could happen.\nMore.")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("ray.init", fail)
    told = "Ray did not start on this host: The current node timed out during startup. This could happen; start again"
    with pytest.raises(UserError, match=f"^{re.escape(told)}$"), local_ray():
        pass
    assert list(tmp_path.iterdir()) == []
