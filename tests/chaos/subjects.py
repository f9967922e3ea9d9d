"""What is disturbed: tiny runs in one process, on ranks and on Ray, and tiny sweeps; and what they must come to."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.builders import tiny_config
from tests.integration.commands import CONCORD, TORCHRUN, final_files, result, write_recipe

_SPACE = {"parameters": {"optimizer.lr": {"loguniform": [1.0e-4, 1.0e-2]}}}
# Files of a run folder that are named by chance or by the attempt.
_BY_CHANCE = ("lease/", "ray/", "probe/", "wandb/")
KINDS = ("alone", "ranks", "ray")


@dataclass(frozen=True)
class Subject:
    """A run or a sweep: its folder, and the command that begins it and goes on with it."""

    name: str
    folder: Path
    command: list[str]
    uses_ray: bool
    is_sweep: bool = False

    def outcome(self) -> dict[str, Any]:
        """All that must be as if nothing had happened."""
        return _sweep_outcome(self.folder) if self.is_sweep else _run_outcome(self.folder)


def run_of(kind: str, name: str, place: Path) -> Subject:
    """A run of some seconds with dropout: `alone` in one process, on two `ranks`, or on `ray` with two workers."""
    tree = tiny_config(
        place,
        name=name,
        encoder={"dropout": 0.2},
        phases=[{"sampling": {"name": "round_robin"}, "epochs": 6}],
        training={"save_every": 7, "evaluate_every": 20, "log_every": 5},
        cluster={"workers": 2 if kind == "ray" else 1, "cpus_per_worker": 0.5},
    )
    recipe = str(write_recipe(place / f"{name}.yaml", tree))
    commands = {
        "alone": [*CONCORD, "train", recipe, "--no-ray"],
        "ranks": [*TORCHRUN, "train", recipe],
        "ray": [*CONCORD, "train", recipe],
    }
    return Subject(name, place / "runs" / name, commands[kind], uses_ray=kind == "ray")


def sweep_of(name: str, place: Path) -> Subject:
    """A sweep of three trials, one at a time."""
    tree = tiny_config(place, name="tiny", encoder={"dropout": 0.2})
    recipe = str(write_recipe(place / f"{name}.yaml", tree))
    (place / "space.yaml").write_text(yaml.safe_dump(_SPACE), encoding="utf-8")
    options = ["--space", str(place / "space.yaml"), "--trials", "3", "--evaluations", "2", "--concurrent", "1"]
    command = [*CONCORD, "sweep", recipe, *options, "--name", name, "--storage", str(place / "runs")]
    return Subject(name, place / "runs" / name, command, uses_ray=True, is_sweep=True)


def _run_outcome(folder: Path) -> dict[str, Any]:
    told = result(folder)
    weights = {name: checksum for name, checksum in final_files(folder).items() if name != "state.json"}
    exported = hashlib.sha256((folder / "export/model.safetensors").read_bytes()).hexdigest()
    return {
        "status": told["status"],
        "history": told["history"],
        "weights": weights,
        "export": exported,
        "files": _files(folder),
    }


def _sweep_outcome(folder: Path) -> dict[str, Any]:
    trials = [json.loads(path.read_text()) for path in sorted(folder.glob("trials/*/trial.json"))]
    return {
        "status": json.loads((folder / "state.json").read_text())["status"],
        "trials": [
            {
                "number": trial["number"],
                "sample": trial["sample"],
                "status": trial["status"],
                "scores": [report["scores"] for report in trial["reports"]],
                "files": _files(folder / "trials" / trial["run"]),
            }
            for trial in trials
        ],
    }


def _files(folder: Path) -> list[str]:
    """What lies there, but for what a kill leaves of a file that it cut off, and damaged files that were set aside."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    kept = (name for name in names if ".damaged-" not in name and not name.endswith(".part"))
    return sorted(name for name in kept if not name.startswith(_BY_CHANCE))
