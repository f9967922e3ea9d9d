"""The plan of a sweep."""

from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.step.clock import clock
from cluster.sweeps.dry_run import DryRun
from cluster.sweeps.optuna_samplers import LEARNING
from cluster.sweeps.records import Trial


def show_sweep_plan(plan: DryRun, console: Console) -> None:
    """Print trials, resources and time."""
    table = Table("trial", "rows", "evals", "what", box=None, padding=(0, 2, 0, 0))
    for trial in plan.trials:
        table.add_row(trial.run, f"{trial.planned_rows:,}", str(trial.planned_iterations), Text(_what(trial)))
    console.print(table)
    if plan.options.search in LEARNING:
        console.print("Later configurations will depend on the results of earlier ones.")
    at_a_time = f"{len(plan.trials)}, {plan.concurrent} at a time"
    console.print(f"trials       {at_a_time}; all configs are valid", highlight=False)
    console.print(f"each         {plan.resources.describe()}", highlight=False)
    bound = "at most about" if plan.options.scheduler in ("asha", "median") else "about"
    console.print(f"time         {bound} {clock(plan.seconds)}, by a probe of a few steps", highlight=False)


def _what(trial: Trial) -> str:
    if trial.role == "recipe":
        return "the recipe itself"
    changes = " ".join(f"{key}={_text(value)}" for key, value in trial.sample.items())
    return f"alone: {changes}" if trial.role == "baseline" else changes


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(yaml.safe_dump(value, default_flow_style=True).split("\n")[0])
