"""What each task reaches without the others."""

import math
import statistics
from collections.abc import Mapping

from cluster.sweeps.records import Sweep
from multitask.config import RunConfig


def baseline_scores(sweep: Sweep, keys: Mapping[str, str], given: Mapping[str, float]) -> dict[str, float]:
    """Task to the score of its single-task trials, the mean over their seeds; those that are `given` go first.

    `keys`: task to the dev score that it is judged by. Tasks without either are left out.
    """
    found: dict[str, list[float]] = {}
    for trial in sweep.trials:
        # A single task's mean is its own score, whatever the sweep selects by.
        best = trial.best("dev/mean") if trial.role == "baseline" else None
        task = trial.sample.get("task", "")
        if best is not None and task in keys and math.isfinite(best.scores.get(keys[task], math.nan)):
            found.setdefault(task, []).append(best.scores[keys[task]])
    return {task: statistics.fmean(scores) for task, scores in found.items()} | dict(given)


def task_keys(config: RunConfig) -> dict[str, str]:
    """Task to the dev score that it is judged by, for the tasks of `dev/mean`."""
    return {task: f"dev/{task}/{config.tasks[task].selection_metric}" for task in config.selected_tasks}
