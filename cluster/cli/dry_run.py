"""What a run would do: its whole config, its resources and its rounds. Data are read and checked, nothing is trained."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from cluster.launch.launch import available_nodes
from cluster.launch.resources import ResourcePlan, plan_resources
from cluster.storage.run_folder import RunFolder
from cluster.terminal.json_output import print_json
from multitask.config import RunConfig
from multitask.data import Tables, prepare_tables
from multitask.sampling import Schedule, TaskSize, task_sizes


def describe_run(config: RunConfig, *, json: bool) -> None:
    """Print config and plan.

    Raises:
        UserError: data or resources are not as the config wants them.
    """
    plan = plan_resources(config.cluster, available_nodes(config))
    tables = prepare_tables(config)
    summary = summarise(config, plan, tables)
    if json:
        print_json({"config": config.to_dict(), "plan": summary})
        return
    console = Console()
    console.print(yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True), markup=False, highlight=False)
    console.print(_task_table(summary))
    console.print(f"workers      {plan.describe()}", highlight=False)
    console.print(f"sharding     ZeRO {config.zero.stage}, {config.precision}", highlight=False)
    console.print(f"steps        {summary['steps']:,}", highlight=False)
    for number, line in enumerate(summary["phases"]):
        console.print(f"phase {number}      {line}", highlight=False)
    console.print(f"run folder   {summary['run_folder']}", highlight=False, soft_wrap=True)


def summarise(config: RunConfig, plan: ResourcePlan, tables: Tables) -> dict[str, Any]:
    """The plan as plain values."""
    rows = {task: table.rows for task, table in tables.train.items()}
    sizes = [task_sizes(config, phase, rows) for phase in range(len(config.phases))]
    schedule = Schedule(config, sizes)
    phases = [_phase_line(config, number, own) for number, own in enumerate(sizes)]
    used = {task: size.rows for own in sizes for task, size in own.items()}
    return {
        "workers": plan.workers,
        "use_gpu": plan.use_gpu,
        "per_worker": plan.per_worker,
        "steps": schedule.steps,
        "phases": phases,
        "run_folder": RunFolder.of(config).location,
        "tasks": {
            task: {
                "train_rows": table.rows,
                "used_rows": used.get(task, 0),
                "dev_rows": tables.dev[task].rows if task in tables.dev else 0,
                "mean_tokens": round(table.lengths.mean(), 1),
                "cut_rows": table.metadata["truncated"],
            }
            for task, table in tables.train.items()
        },
        "sizes": [{task: asdict(size) for task, size in own.items()} for own in sizes],
    }


def _phase_line(config: RunConfig, number: int, sizes: Mapping[str, TaskSize]) -> str:
    phase = config.phases[number]
    epochs = f"{phase.epochs} epoch{'s' if phase.epochs > 1 else ''}"
    tasks = ", ".join(f"{task} ({size.batches:,} batches of {size.batch_size})" for task, size in sizes.items())
    return f"{epochs} of {phase.sampling.name} over {tasks}"


def _task_table(summary: dict[str, Any]) -> Table:
    table = Table("task", title=None)
    for heading in ("train rows", "rows used", "dev rows", "tokens a row", "rows cut"):
        table.add_column(heading, justify="right")
    for task, own in summary["tasks"].items():
        table.add_row(task, *(f"{value:,}" for value in own.values()))
    return table
