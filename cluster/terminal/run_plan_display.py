"""The plan of a run."""

from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from cluster.launch.run_plan import RunPlan


def show_run_plan(plan: RunPlan, console: Console) -> None:
    """Print the whole config, the tasks, the workers and the phases."""
    config, summary = plan.config, plan.summary
    console.print(
        yaml.safe_dump(config.to_public(), sort_keys=False, allow_unicode=True), markup=False, highlight=False
    )
    console.print(_task_table(summary))
    console.print(f"workers      {plan.resources.describe()}", highlight=False)
    console.print(f"sharding     ZeRO {config.zero.stage}, {config.precision}", highlight=False)
    console.print(f"steps        {summary['steps']:,}", highlight=False)
    for number, line in enumerate(summary["phases"]):
        console.print(f"phase {number}      {line}", highlight=False)
    console.print(f"run folder   {summary['run_folder']}", highlight=False, soft_wrap=True)


def _task_table(summary: dict[str, Any]) -> Table:
    table = Table("task", title=None)
    for heading in ("train rows", "rows used", "dev rows", "tokens a row", "rows cut"):
        table.add_column(heading, justify="right")
    for task, own in summary["tasks"].items():
        table.add_row(task, *(f"{value:,}" for value in own.values()))
    return table
