"""A sweep's folder as a finished search leaves it, with a made-up response to its parameters."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cluster.storage.storage import Storage
from cluster.sweeps.records import Options, Report, Sweep, Trial
from cluster.sweeps.store import SweepStore
from multitask.config import parse_config

Sample = dict[str, Any]

SAMPLING = ["round_robin", "proportional", "square_root", "annealed", "temperature"]
COMBINATION = ["sum", "size_weighted", "loss_weights", "pcgrad"]
PARAMETERS: dict[str, dict[str, Any]] = {
    "optimizer.lr": {"kind": "float", "low": 1e-6, "high": 1e-3, "log": True, "values": None, "when": {}},
    "encoder.dropout": {"kind": "float", "low": 0.0, "high": 0.5, "log": False, "values": None, "when": {}},
    "sampling.name": {"kind": "choice", "low": None, "high": None, "log": False, "values": SAMPLING, "when": {}},
    "sampling.annealed.start": {
        "kind": "float",
        "low": 0.2,
        "high": 1.0,
        "log": False,
        "values": None,
        "when": {"sampling.name": ["annealed"]},
    },
    "sampling.temperature.temperature": {
        "kind": "float",
        "low": 1.0,
        "high": 10.0,
        "log": True,
        "values": None,
        "when": {"sampling.name": ["temperature"]},
    },
    "combination.name": {"kind": "choice", "low": None, "high": None, "log": False, "values": COMBINATION, "when": {}},
}
RECIPE: Sample = {
    "optimizer.lr": 1e-5,
    "encoder.dropout": 0.1,
    "sampling.name": "round_robin",
    "combination.name": "sum",
}
UNIT = 1000


def recipe_tree(tasks: Sequence[str] = ("sst", "quora", "sts"), **changes: Any) -> dict[str, Any]:
    """A recipe's config over `tasks`, all with accuracy but `sts`; no file of it exists."""
    declared = {
        task: {
            "kind": {"name": "regression", "low": 0.0, "high": 5.0}
            if task == "sts"
            else {"name": "classification", "classes": 3},
            "columns": {"id": "id", "text": "text", "label": "label"},
            "files": {"train": [f"{task}-train.csv"], "dev": [f"{task}-dev.csv"]},
            "format": "cs224n",
        }
        for task in tasks
    }
    tree = {"name": "fake", "seed": 1, "encoder": {"name": "prajjwal1/bert-tiny"}, "tasks": declared}
    tree |= {"tracking": {"mode": "disabled"}, "phases": [{"sampling": {"name": "round_robin"}, "epochs": 1}]}
    return parse_config(tree | changes, "test").to_dict()


def draw_sample(generator: np.random.Generator, parameters: Mapping[str, Mapping[str, Any]]) -> Sample:
    """The active parameters of one random configuration."""
    sample: Sample = {}
    for name, about in parameters.items():
        if any(sample.get(other) not in values for other, values in about["when"].items()):
            continue
        if about["kind"] == "choice":
            sample[name] = about["values"][generator.integers(len(about["values"]))]
        elif about["log"]:
            sample[name] = float(math.exp(generator.uniform(math.log(about["low"]), math.log(about["high"]))))
        else:
            sample[name] = float(generator.uniform(about["low"], about["high"]))
        if about["kind"] == "int":
            sample[name] = round(sample[name])
    return sample


def quality(sample: Mapping[str, Any], place: int) -> float:
    """The score that a long training of task number `place` would reach."""
    lr = math.log10(float(sample.get("optimizer.lr", 1e-4)))
    score = (
        0.78 - 0.05 * (lr + 4.2 - 0.15 * place) ** 2 - 0.25 * (float(sample.get("encoder.dropout", 0.1)) - 0.15) ** 2
    )
    score += {"annealed": 0.03, "square_root": 0.015}.get(str(sample.get("sampling.name")), 0.0)
    score += {"pcgrad": 0.02 - 0.015 * place, "loss_weights": -0.02 + 0.02 * place}.get(
        str(sample.get("combination.name")), 0
    )
    return max(score - 0.04 * place, 0.15)


def key_of(task: str) -> str:
    """The score that chooses among the checkpoints of `task`."""
    return f"dev/{task}/pearson" if task == "sts" else f"dev/{task}/accuracy"


def make_trial(
    sample: Sample,
    number: int,
    tasks: Sequence[str],
    generator: np.random.Generator,
    name: str = "fake",
    evaluations: int = 9,
    repeat: int = 0,
) -> Trial:
    """A finished trial whose scores rise towards `quality` and jitter a little."""
    luck, reports = generator.normal(0, 0.004, len(tasks)), []
    for iteration in range(1, evaluations + 1):
        grown = 1 - 0.6 * math.exp(-0.5 * iteration)
        scores = {
            key_of(task): quality(sample, place) * grown + luck[place] + generator.normal(0, 0.003)
            for place, task in enumerate(tasks)
        }
        scores |= {"dev/mean": float(np.mean(list(scores.values())))}
        rows = UNIT * iteration
        reports.append(Report(iteration, rows // 16, rows, rows * 40, rows / 50, scores))
    return Trial(
        number=number,
        repeat=repeat,
        role="sample" if number else "recipe",
        run=f"{name}-{number:03d}" + (f"-r{repeat}" if repeat else ""),
        sample=sample,
        status="finished",
        reports=tuple(reports),
        planned_rows=UNIT * evaluations,
        planned_iterations=evaluations,
        attempts=1,
        started=1.7e9,
        ended=1.7e9 + reports[-1].seconds,
        seconds=reports[-1].seconds + 6,
    )


def cut(trial: Trial, reports: int, status: Any, reason: str | None) -> Trial:
    """The trial as it was after `reports` evaluations."""
    kept = trial.reports[:reports]
    seconds = (kept[-1].seconds if kept else 0.0) + 6
    return replace(trial, reports=kept, status=status, reason=reason, seconds=seconds)


def baseline(task: str, tasks: Sequence[str], generator: np.random.Generator, name: str = "fake") -> Trial:
    """The single-task run of `task`."""
    made = make_trial({}, 0, tasks, generator, name)
    own = key_of(task)
    reports = tuple(
        replace(report, scores={own: report.scores[own], "dev/mean": report.scores[own]}) for report in made.reports
    )
    return replace(made, role="baseline", run=f"{name}-base-{task}", sample={"task": task}, reports=reports)


def make_trials(
    count: int = 16,
    tasks: Sequence[str] = ("sst", "quora", "sts"),
    parameters: Mapping[str, Mapping[str, Any]] = PARAMETERS,
    seed: int = 3,
    repeats: bool = True,
) -> list[Trial]:
    """`count` configurations searched with ASHA; the last but one failed, two others run again with another seed."""
    generator = np.random.default_rng(seed)
    first = {name: value for name, value in RECIPE.items() if name in parameters}
    samples = [first, *(draw_sample(generator, parameters) for _ in range(count - 1))]
    trials = [make_trial(sample, number, tasks, generator) for number, sample in enumerate(samples)]
    for rung, share in ((1, 0.5), (3, 0.5)):
        alive = [t for t in trials if len(t.reports) > rung and t.number]
        alive.sort(key=lambda t: t.reports[rung - 1].scores["dev/mean"])
        for loser in alive[: int(len(alive) * share) if count > 3 else 0]:
            reason = f"among the worse at {rung * UNIT:,} rows"
            trials[loser.number] = cut(loser, rung, "stopped", reason)
    if count > 4:
        trials[-2] = cut(trials[-2], 0, "failed", "3 steps in a row had no finite loss")
        trials[-4] = cut(trials[-4], 1, "failed", "3 steps in a row had no finite loss")
    if repeats and count > 2:
        best = max((t for t in trials if t.reports), key=lambda t: t.reports[-1].scores["dev/mean"])
        for number in dict.fromkeys((0, best.number)):
            again = [make_trial(trials[number].sample, number, tasks, generator, repeat=r) for r in (1, 2)]
            trials += again
        trials += [baseline(task, tasks, generator) for task in tasks]
    return trials


def write_sweep(
    folder: Path,
    trials: Sequence[Trial],
    tasks: Sequence[str] = ("sst", "quora", "sts"),
    parameters: Mapping[str, Mapping[str, Any]] = PARAMETERS,
    status: Any = "finished",
    name: str = "fake",
    runs: bool = True,
    **options: Any,
) -> Path:
    """The folder `folder/name` of a sweep with `trials`, which have run folders with `runs`."""
    sweeps = SweepStore(Storage(str(folder / name)))
    base = recipe_tree(tasks)
    space = {"name": "default", "about": "What to change first.", "identity": "0", "parameters": dict(parameters)}
    space |= {"spec": "default", "fixed": {}}
    settings = Options(trials=len(trials), **({"scheduler": "asha", "grace": 1, "reduction": 3} | options))
    sweep = Sweep(name, str(folder / name), "main", base, space, settings, created=1.7e9)
    sweeps.write_plan(sweep)
    sweeps.write_state({"status": status, "elapsed": 5230.0})
    for trial in trials:
        sweeps.write_trial(trial)
        if runs and trial.reports:
            _write_run(folder / name / "trials" / trial.run, base, trial)
    return folder / name


def _write_run(folder: Path, base: dict[str, Any], trial: Trial) -> None:
    """`config.yaml`, `result.json` and `history.json` of a trial."""
    config = parse_config(base | {"name": trial.run}, "test").to_dict()
    best = trial.best("dev/mean")
    points = [{"step": r.step, "epoch": 1.0, "phase": 0} | r.scores for r in trial.reports]
    result = {"status": "finished", "steps": points[-1]["step"], "step": points[-1]["step"], "workers": 1}
    result |= {"best_step": best.step if best else None, "history": points, "seconds": {"forward/backward": 9.0}}
    train = [
        {"step": r.step, "train/lr": 1e-4} | {f"train/loss/{t}": 1 / r.step for t in base["tasks"]}
        for r in trial.reports
    ]
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "history.json").write_text(json.dumps({"train": train, "dev": points}))
