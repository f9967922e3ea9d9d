"""`concord plan`: what a run of a recipe takes on so many GPUs, beside one of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.scale.machine import Machine, machine
from cluster.scale.remedies import remedies
from cluster.scale.simulation import Simulation
from cluster.scale.step_plan import StepPlan
from multitask.config import RunConfig
from multitask.data import TaskTable, prepare_tables

# Steps of the recipe that are simulated: their rows differ.
_STEPS = 3


@dataclass(frozen=True)
class Forecast:
    """`plan`: the middle one of a few steps; `efficiency`: tokens a second over `gpus` times those of one GPU. `steps`, `hours`: of the whole
    run; `cost`: of all its GPU hours, None where no price was given. `change`: what to change, in sentences.
    """

    machine: Machine
    plan: StepPlan
    efficiency: float
    steps: int
    hours: float
    cost: float | None
    change: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **self.plan.to_dict(),
            "efficiency": self.efficiency,
            "steps": self.steps,
            "hours": self.hours,
            "cost": self.cost,
            "change": list(self.change),
            "machine": self.machine.model_dump(),
        }


def forecast(
    config: RunConfig,
    gpus: int,
    gpu: str,
    network: str,
    *,
    per_host: int = 8,
    rows_per_gpu: int | None = None,
    price: float | None = None,
    tables: Mapping[str, TaskTable] | None = None,
) -> Forecast:
    """What the run of `config` takes on `gpus` GPUs, `per_host` on a host.

    `rows_per_gpu`: a step has so many rows for each of them, instead of the recipe's batches. `price`: of an hour of one GPU.

    Raises:
        UserError: recipe, data, GPU or network are not as they must be.
    """
    machines = machine(gpu, network, config.precision)
    simulation = Simulation(config, tables or prepare_tables(config).train, machines)
    plan, alone = (_middle(simulation, number, per_host, rows_per_gpu) for number in (gpus, 1))
    efficiency = plan.tokens_per_s / (gpus * alone.tokens_per_s)
    steps = _steps(simulation, plan, rows_per_gpu)
    hours = steps * plan.time.total / 3600
    change = tuple(remedies(config, plan, machines, efficiency))
    return Forecast(machines, plan, efficiency, steps, hours, None if price is None else price * gpus * hours, change)


def _middle(simulation: Simulation, gpus: int, per_host: int, rows_per_gpu: int | None) -> StepPlan:
    """The step of median length among a few spread over the run."""
    total = simulation.rows.schedule.steps
    plans = [simulation.step(gpus, per_host, rows_per_gpu, number * total // _STEPS) for number in range(_STEPS)]
    return sorted(plans, key=lambda plan: plan.time.total)[len(plans) // 2]


def _steps(simulation: Simulation, plan: StepPlan, rows_per_gpu: int | None) -> int:
    """Steps of the whole run."""
    schedule = simulation.rows.schedule
    if rows_per_gpu is None:
        return schedule.steps
    return max(1, round(schedule.rows_done(schedule.steps) / plan.work.rows))
