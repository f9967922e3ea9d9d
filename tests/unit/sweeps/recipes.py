"""Recipes of which no file exists, what tables of theirs would hold, and what a trial of theirs reports."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cluster.sweeps.plan import Budget, measure_budget
from cluster.sweeps.records import Report
from multitask.config import RunConfig, parse_config
from multitask.sampling import Schedule, task_sizes
from tests.builders import tiny_config

ROWS = {"sst": 900, "quora": 2400, "sts": 640}


def recipe(**changes: Any) -> RunConfig:
    """The tiny recipe; `changes` as `tiny_config` has them."""
    return parse_config(tiny_config(Path("nowhere"), **changes), "test")


def batch_sizes(**sizes: int) -> dict[str, Any]:
    """The change of a recipe that gives tasks batch sizes of their own."""
    return {task: {"batch_size": size} for task, size in sizes.items()}


def tables(rows: Mapping[str, int]) -> Any:
    """As much of `Tables` as planning looks at: the number of training rows."""
    return SimpleNamespace(train={task: SimpleNamespace(rows=number) for task, number in rows.items()})


def budget_of(base: RunConfig, evaluations: int = 9, rows: Mapping[str, int] = ROWS) -> Budget:
    """What `base` trains."""
    return measure_budget(base, tables({task: rows[task] for task in base.tasks}), evaluations)


def schedule_of(config: RunConfig, rows: Mapping[str, int] = ROWS) -> Schedule:
    """The schedule that a run of `config` would follow."""
    return Schedule(config, [task_sizes(config, phase, rows) for phase in range(len(config.phases))])


def rows_after_steps(config: RunConfig, rows: Mapping[str, int] = ROWS) -> list[int]:
    """Training rows after 0, 1, … steps, counted round by round; a pass's last batch is short where its rows do not divide."""
    sizes = [task_sizes(config, phase, rows) for phase in range(len(config.phases))]
    schedule, counted = Schedule(config, sizes), [0]
    for step in range(schedule.steps):
        own = schedule.round(step)
        trained = 0
        for batch in own.batches:
            size = sizes[own.phase][batch.task]
            drawn = min(size.rows, config.tasks[batch.task].rows_per_pass or size.rows)
            short = drawn - (size.batches - 1) * size.batch_size
            trained += sum(short if (n + 1) % size.batches == 0 else size.batch_size for n in batch.numbers)
        counted.append(counted[-1] + trained)
    return counted


def report(iteration: int, score: float, **more: float) -> Report:
    """The record of a trial's evaluation number `iteration`: ten steps, 100 rows and 1000 tokens for each."""
    return Report(
        iteration, 10 * iteration, 100 * iteration, 1000 * iteration, 5.0 * iteration, {"dev/mean": score, **more}
    )
