"""Sweeps written by hand."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cluster.storage.storage import Storage
from cluster.sweeps.records import Options, Report, Role, Status, Sweep, Trial
from cluster.sweeps.store import SweepStore
from multitask.config import parse_config

KEYS = {"sst": "dev/sst/accuracy", "quora": "dev/quora/accuracy", "sts": "dev/sts/pearson"}
PARAMETERS: dict[str, dict[str, Any]] = {
    "lr": {"kind": "float", "low": 1e-6, "high": 1e-2, "log": True, "values": None, "when": {}},
    "layers": {"kind": "int", "low": 1, "high": 12, "log": False, "values": None, "when": {}},
    "mix": {"kind": "choice", "low": None, "high": None, "log": False, "values": ["plain", "drawn"], "when": {}},
    "mix.power": {"kind": "float", "low": 0.0, "high": 1.0, "log": False, "values": None, "when": {"mix": ["drawn"]}},
}


def scores(sst: float, quora: float, sts: float, **more: float) -> dict[str, float]:
    """Dev scores of the three tasks, with their mean."""
    return {**dict(zip(KEYS.values(), (sst, quora, sts), strict=True)), "dev/mean": (sst + quora + sts) / 3, **more}


def report(iteration: int, found: Mapping[str, float]) -> Report:
    """An evaluation after ten steps for each iteration."""
    return Report(iteration, 10 * iteration, 100 * iteration, 1000 * iteration, 5.0 * iteration, dict(found))


def trial(
    number: int,
    *courses: Mapping[str, float],
    sample: Mapping[str, Any] | None = None,
    repeat: int = 0,
    role: Role | None = None,
    status: Status = "finished",
    reason: str | None = None,
    run: str | None = None,
) -> Trial:
    """A trial that reported `courses` one after another."""
    return Trial(
        number=number,
        repeat=repeat,
        role=role or ("sample" if number else "recipe"),
        run=run or f"s-{number:03d}" + (f"-r{repeat}" if repeat else ""),
        sample=dict(sample or {}),
        status=status,
        reason=reason,
        reports=tuple(report(place, own) for place, own in enumerate(courses, start=1)),
    )


def searched(count: int, response: Callable[[dict[str, Any]], float], seed: int = 0) -> list[Trial]:
    """Trials of random samples of `PARAMETERS`, whose scores all are what `response` makes of their sample."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        mix = ["plain", "drawn"][generator.integers(2)]
        sample = {"lr": float(10 ** generator.uniform(-6, -2)), "layers": int(generator.integers(1, 13)), "mix": mix}
        sample |= {"mix.power": float(generator.uniform())} if mix == "drawn" else {}
        score = response(sample)
        made.append(trial(number, scores(score, score, score), sample=sample))
    return made


def baseline(task: str, score: float) -> Trial:
    """The single-task trial of `task`."""
    courses = ({KEYS[task]: score, "dev/mean": score}, {KEYS[task]: score - 0.2, "dev/mean": score - 0.2})
    return trial(-1, *courses, sample={"task": task}, role="baseline", run=f"s-base-{task}")


def base_tree() -> dict[str, Any]:
    """A recipe of three tasks, of which no file exists."""
    tasks = {
        task: {
            "kind": {"name": "regression", "low": 0.0, "high": 5.0} if task == "sts" else {"name": "binary"},
            "columns": {"id": "id", "text": "text", "label": "label"},
            "files": {"train": [f"{task}-train.csv"], "dev": [f"{task}-dev.csv"]},
            "format": "cs224n",
        }
        for task in KEYS
    }
    tree = {"name": "s", "encoder": {"name": "prajjwal1/bert-tiny"}, "tasks": tasks, "tracking": {"mode": "disabled"}}
    return parse_config(tree, "test").to_dict()


def sweep(trials: Iterable[Trial], parameters: Mapping[str, Any] = PARAMETERS, **options: Any) -> Sweep:
    """A finished sweep called `s`."""
    made: Sequence[Trial] = tuple(trials)
    space = {"name": "default", "about": "", "identity": "0", "parameters": dict(parameters)}
    space |= {"spec": "default", "fixed": {}}
    settings = Options(trials=len(made), **options)
    return Sweep("s", "runs/s", "main", base_tree(), space, settings, tuple(made), "finished")


def write(made: Sweep, storage: str, name: str = "s") -> SweepStore:
    """The folder of `made` in `storage`."""
    folder = SweepStore(Storage(f"{storage}/{name}"))
    folder.write_plan(made)
    folder.write_state({"status": made.status})
    for own in made.trials:
        folder.write_trial(own)
    return folder
