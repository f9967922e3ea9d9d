"""The run that hosts of a lab train, and what it must come to."""

import subprocess
from pathlib import Path
from typing import Any

from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks
from tests.hosts.lab import Lab
from tests.integration.commands import ROOT, TORCHRUN, environment, final_files, write_recipe


def write_inputs(lab: Lab) -> None:
    """Data and encoder in the lab's shared folder."""
    write_tiny_tasks(lab.shared)
    build_tiny_bert(lab.shared / "encoder", dropout=0.1)


def lab_recipe(lab: Lab, name: str, *, epochs: int, training: dict[str, int], stage: int = 2, **cluster: Any) -> str:
    """Write the recipe of a run of two workers over epochs of ten rounds, with dropout and PCGrad, in the lab's shared folder."""
    tree = tiny_config(
        lab.shared,
        name=name,
        encoder={"dropout": 0.1},
        zero={"stage": stage},
        phases=[{"sampling": {"name": "round_robin"}, "epochs": epochs}],
        training=training,
        cluster={"workers": 2, "export": False, **cluster},
    )
    return str(write_recipe(lab.shared / f"{name}.yaml", tree))


def run_on_one_host(recipe: str, run: Path) -> dict[str, str]:
    """Train it by two processes of this host, which know no Ray; gives the `weights_of` its folder."""
    done = subprocess.run([*TORCHRUN, "train", recipe], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return weights_of(run)


def weights_of(run: Path) -> dict[str, str]:
    """Step and checksums of the last checkpoint, but for what names the attempt."""
    return {name: checksum for name, checksum in final_files(run).items() if name != "state.json"}
