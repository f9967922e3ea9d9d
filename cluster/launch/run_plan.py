"""What a run would do: its config, its resources and its rounds. Data are read and checked, nothing is trained."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cluster.launch.launch import available_nodes
from cluster.launch.resources import ResourcePlan, plan_resources
from cluster.storage.run_folder import RunFolder
from multitask.config import RunConfig
from multitask.data import Tables, prepare_tables
from multitask.sampling import Schedule, TaskSize, task_sizes


@dataclass(frozen=True)
class RunPlan:
    """A run before it is trained. `summary`: the plan as plain values."""

    config: RunConfig
    resources: ResourcePlan
    summary: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"config": self.config.to_public(), "plan": self.summary}


def plan_run(config: RunConfig) -> RunPlan:
    """What the run of `config` would do.

    Raises:
        UserError: data or resources are not as the config wants them.
    """
    resources = plan_resources(config.cluster, *available_nodes(config))
    return RunPlan(config, resources, summarise_run(config, resources, prepare_tables(config)))


def summarise_run(config: RunConfig, plan: ResourcePlan, tables: Tables) -> dict[str, Any]:
    """The plan as plain values."""
    rows = {task: table.rows for task, table in tables.train.items()}
    sizes = [task_sizes(config, phase, rows) for phase in range(len(config.phases))]
    schedule = Schedule(config, sizes)
    phases = [_phase_line(config, number, own) for number, own in enumerate(sizes)]
    used = {task: size.rows for own in sizes for task, size in own.items()}
    return {
        "workers": plan.workers,
        "most_workers": plan.most or plan.workers,
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
