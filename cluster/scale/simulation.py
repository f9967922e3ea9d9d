"""`concord plan`: the steps of a recipe on N GPUs, without any of them."""

from collections.abc import Mapping
from functools import cached_property

from cluster.scale.machine import Machine
from cluster.scale.model_shape import ModelShape, model_shape
from cluster.scale.rank_work import StepRows, step_work
from cluster.scale.step_plan import StepPlan, plan_step
from multitask.combination import Setting, build_combination
from multitask.config import RunConfig
from multitask.data import TaskTable
from multitask.errors import UserError
from multitask.work import WorkSource


class Simulation:
    """A recipe's steps on any number of devices; `tables`: its training tables.

    Raises:
        UserError: what it trains cannot be planned.
    """

    def __init__(self, config: RunConfig, tables: Mapping[str, TaskTable], machine: Machine) -> None:
        _check(config)
        self.config, self.machine, self._tables = config, machine, tables
        source = WorkSource(config, tables, 0, 0, 1, all_tasks=False)
        self.rows = StepRows(config, tables, source)
        self.combination = build_combination(config, Setting(source.used_rows(), self.rows.schedule.steps, config.seed))

    @cached_property
    def shape(self) -> ModelShape:
        """Of the model."""
        return model_shape(self.config, self.combination.granularity)

    def step(self, gpus: int, per_host: int = 8, rows_per_gpu: int | None = None, step: int = 0) -> StepPlan:
        """Step number `step`, of the recipe's own rows or of `rows_per_gpu` on each device."""
        rows = self.rows.rows(step, None if rows_per_gpu is None else rows_per_gpu * gpus)
        work = step_work(self.config, self.shape, self.combination, self._tables, rows, gpus, step)
        return plan_step(self.config, self.shape, self.machine, work, gpus, per_host)


def _check(config: RunConfig) -> None:
    if config.zero.stage == 3:
        raise UserError(
            "zero.stage: the messages of ZeRO 3 are DeepSpeed's own and are not planned; plan with zero.stage=1"
        )
    compared = [name for name, task in config.tasks.items() if task.compares_rows]
    if compared:
        raise UserError(f"tasks.{compared[0]}: its loss runs between rows, which plan does not know; leave it out")
