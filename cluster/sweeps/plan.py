"""The configs of trials, made from a recipe and a space: all train equally many rows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.sweeps.records import Options, Role, Trial
from multitask.config import RunConfig, parse_config
from multitask.errors import UserError
from multitask.sampling import Schedule, task_sizes

if TYPE_CHECKING:
    from multitask.data import Tables


@dataclass(frozen=True)
class Budget:
    """How much a trial trains. `phase_rows`: rows of an epoch of each of the recipe's phases. `unit`: rows of an iteration.

    `rows`: those of the whole recipe. `table_rows`: task to rows of its training table.
    """

    phase_rows: tuple[int, ...]
    rows: int
    unit: int
    table_rows: dict[str, int]


def measure_budget(base: RunConfig, tables: "Tables", evaluations: int) -> Budget:
    """What the recipe `base` trains, as rows: steps mean something else with every sampling strategy."""
    table_rows = {task: table.rows for task, table in tables.train.items()}
    sizes = [task_sizes(base, phase, table_rows) for phase in range(len(base.phases))]
    schedule = Schedule(base, sizes)
    rows = []
    for index, phase in enumerate(base.phases):
        steps = schedule.phase_steps(index)
        of_all = schedule.rows_done(steps.stop) - schedule.rows_done(steps.start)
        rows.append(max(1, round(of_all / phase.epochs)))
    total = sum(per_epoch * phase.epochs for per_epoch, phase in zip(rows, base.phases, strict=True))
    return Budget(tuple(rows), total, math.ceil(total / evaluations), table_rows)


def trial_config(
    config: RunConfig, trial: Trial, sweep: str, location: str, options: Options, budget: Budget
) -> RunConfig:
    """The config of `trial`, from what the space made: evaluated and, if the phases are still the recipe's, as long as it.

    `location`: where run folders of trials lie.
    """
    tree = config.to_dict()
    tree["name"], tree["seed"] = trial.run, config.seed + trial.repeat
    if len(tree["phases"]) == len(budget.phase_rows):
        for phase, rows in zip(tree["phases"], budget.phase_rows, strict=True):
            phase |= {"rows_per_epoch": rows, "steps_per_epoch": None}
    training = {"evaluate_every": None, "evaluate_rows": budget.unit, "selection": options.selection}
    if trial.role == "baseline":
        training["selection"] = "dev/mean"
    tree["training"] |= training
    tree["cluster"] |= {"storage": location, "export": False}
    tree["tracking"] |= {
        "group": sweep,
        "job_type": "baseline" if trial.role == "baseline" else "trial",
        "tags": [*config.tracking.tags, *_tags(config, trial)],
        "extra": {**config.tracking.extra, "sweep": sweep, "sample": trial.current_sample},
        "log_model": False,
    }
    return parse_config(tree, trial.run)


def _tags(config: RunConfig, trial: Trial) -> list[str]:
    samplings = dict.fromkeys(phase.sampling.name for phase in config.phases)
    tags = [f"sampling:{name}" for name in samplings] + [f"combination:{config.combination.name}"]
    return tags + ([trial.role] if trial.role != "sample" else [])


def baseline_config(base: RunConfig, task: str) -> RunConfig:
    """The recipe with `task` alone: what the task reaches without the others.

    Raises:
        UserError: no phase trains it.
    """
    if not any(task in base.phase_tasks(index) for index in range(len(base.phases))):
        raise UserError(f"--baselines: task {task} has none, no phase of the recipe trains it")
    tree = base.to_dict()
    tree["tasks"] = {task: tree["tasks"][task]}
    phases = [phase for phase in tree["phases"] if phase["tasks"] is None or task in phase["tasks"]]
    tree["phases"] = [phase | {"tasks": None, "sampling": {"name": "round_robin"}} for phase in phases]
    tree["combination"] = {"name": "sum"}
    tree["optimizer"]["per_task"] = False
    tree["training"]["selection"] = "dev/mean"
    return parse_config(tree, f"baseline of {task}")


def baseline_budget(base: RunConfig, budget: Budget, task: str) -> Budget:
    """The task's even share of each phase that trains it, evaluated as often."""
    rows = [
        max(1, per_epoch // len(base.phase_tasks(index)))
        for index, per_epoch in enumerate(budget.phase_rows)
        if task in base.phase_tasks(index)
    ]
    epochs = [phase.epochs for index, phase in enumerate(base.phases) if task in base.phase_tasks(index)]
    total = sum(per_epoch * count for per_epoch, count in zip(rows, epochs, strict=True))
    unit = max(1, math.ceil(total * budget.unit / budget.rows))
    return Budget(tuple(rows), total, unit, {task: budget.table_rows[task]})


def planned(config: RunConfig, table_rows: Mapping[str, int]) -> tuple[int, int]:
    """Rows and evaluations of a trial with this config."""
    sizes = [task_sizes(config, phase, table_rows) for phase in range(len(config.phases))]
    schedule = Schedule(config, sizes)
    rows, unit = schedule.rows_done(schedule.steps), config.training.evaluate_rows or 1
    # As in `Schedule.evaluates_after`: a multiple nearer than half a unit to the end is left to the end.
    evaluations = max(0, math.floor(rows / unit - 0.5)) + 1
    return round(rows), min(evaluations, schedule.steps)


def run_name(sweep: str, number: int, repeat: int, role: Role, task: str | None = None) -> str:
    """The name of a trial and of its run folder."""
    middle = f"base-{task}" if role == "baseline" else f"{number:03d}"
    return f"{sweep}-{middle}" + (f"-r{repeat}" if repeat else "")


def plain_sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    """The sample with numpy's scalars as Python's, for JSON."""
    return {key: value.item() if hasattr(value, "item") else value for key, value in sample.items()}
