"""The whole of a run's config."""

import hashlib
import json
import re

from pydantic import Field, field_validator, model_validator

from multitask.config.base import Config
from multitask.config.cluster import ClusterConfig, TrackingConfig
from multitask.config.combination import CombinationConfig, PCGrad, Sum, Weights
from multitask.config.data import DataConfig
from multitask.config.model import EncoderConfig
from multitask.config.sampling import PhaseConfig, Proportional, RoundRobin, Sequential
from multitask.config.task import METRICS, TaskConfig
from multitask.config.training import AdamW, OptimizerConfig, Precision, ScheduleConfig, TrainingConfig, ZeroConfig

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class RunConfig(Config):
    """One frozen tree; the same dict goes into the checkpoint, W&B and the trial, and back, unchanged."""

    name: str = Field(description="names the run folder; the same name again goes on where it stopped")
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**31)
    encoder: EncoderConfig
    tasks: dict[str, TaskConfig] = Field(min_length=1)
    data: DataConfig = DataConfig()
    phases: tuple[PhaseConfig, ...] = Field(default=(PhaseConfig(),), min_length=1)
    combination: CombinationConfig = Sum()
    optimizer: OptimizerConfig = AdamW()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()
    precision: Precision = "fp32"
    zero: ZeroConfig = ZeroConfig()
    cluster: ClusterConfig = ClusterConfig()
    tracking: TrackingConfig = TrackingConfig()

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"may hold letters, digits, '.', '_' and '-' only and starts with a letter or digit, got {name!r}"
            )
        return name

    @field_validator("tasks")
    @classmethod
    def _task_names_are_words(cls, tasks: dict[str, TaskConfig]) -> dict[str, TaskConfig]:
        for name in tasks:
            if not name.isidentifier() or name == "mean":
                raise ValueError(
                    f"a task's name must be a word of letters, digits and '_' other than 'mean', got {name!r}"
                )
        return tasks

    @model_validator(mode="after")
    def _choices_work_together(self) -> "RunConfig":
        for index, phase in enumerate(self.phases):
            self._check_phase(index, phase)
        if isinstance(self.combination, Weights):
            _same_names("combination.weights", self.combination.weights, self.tasks)
        self._check_selection()
        return self

    def _check_phase(self, index: int, phase: PhaseConfig) -> None:
        key = f"phases.{index}"
        tasks = phase.tasks if phase.tasks is not None else tuple(self.tasks)
        if not tasks or len(set(tasks)) != len(tasks):
            raise ValueError(f"{key}.tasks must name at least one task, each once, got {list(tasks)}")
        for task in tasks:
            if task not in self.tasks:
                raise ValueError(f"{key}.tasks: there is no task {task!r}; tasks: {', '.join(self.tasks)}")
        sampling = phase.sampling
        if isinstance(sampling, RoundRobin) and sampling.tasks_per_step != "all":
            if not 1 <= sampling.tasks_per_step <= len(tasks):
                raise ValueError(
                    f"{key}.sampling.tasks_per_step must lie in 1 … {len(tasks)} (the phase's tasks), got {sampling.tasks_per_step}"
                )
        if isinstance(self.combination, PCGrad) and len(tasks) > 1 and _tasks_in_one_step(sampling, len(tasks)) == 1:
            mend = {
                "round_robin": f"set {key}.sampling.tasks_per_step=all",
                "proportional": f"set {key}.sampling.batches_per_step to 2 or more",
                "sequential": f"use {key}.sampling.name=round_robin",
            }[sampling.name]
            raise ValueError(
                f"combination.name=pcgrad needs several tasks in a step, but {key}.sampling trains one at a time: "
                f"{mend}, or use combination.name=sum"
            )

    def _check_selection(self) -> None:
        valid = [
            "dev/mean",
            *(f"dev/{task}/{metric}" for task, config in self.tasks.items() for metric in METRICS[config.kind.name]),
        ]
        if self.training.selection not in valid:
            raise ValueError(f"training.selection must be one of {', '.join(valid)}, got {self.training.selection!r}")

    def batch_size(self, task: str) -> int:
        """Rows of one global batch of `task`."""
        return self.tasks[task].batch_size or self.data.batch_size

    def phase_tasks(self, phase: int) -> tuple[str, ...]:
        """The tasks of phase number `phase`."""
        return self.phases[phase].tasks or tuple(self.tasks)

    def to_dict(self) -> dict:
        """The config as plain JSON values; `RunConfig.model_validate` gives it back."""
        return self.model_dump(mode="json")

    def trajectory(self) -> dict:
        """What the learned weights depend on: everything but names, watching and where it runs."""
        config = self.to_dict()
        for key in ("name", "description", "cluster", "tracking", "zero"):
            del config[key]
        for key in ("root", "cache"):
            del config["data"][key]
        for key in ("save_every", "log_every", "non_finite_limit", "evaluate_before", "accumulation"):
            del config["training"][key]
        return config

    def trajectory_hash(self) -> str:
        """sha256 of `trajectory`."""
        return hashlib.sha256(json.dumps(self.trajectory(), sort_keys=True).encode()).hexdigest()


def _tasks_in_one_step(sampling: Sequential | RoundRobin | Proportional, tasks: int) -> int:
    if isinstance(sampling, RoundRobin):
        return tasks if sampling.tasks_per_step == "all" else sampling.tasks_per_step
    return min(sampling.batches_per_step, tasks) if isinstance(sampling, Proportional) else 1


def _same_names(key: str, given: dict[str, float], tasks: dict[str, TaskConfig]) -> None:
    unknown, missing = [t for t in given if t not in tasks], [t for t in tasks if t not in given]
    if unknown:
        raise ValueError(f"{key}: there is no task {unknown[0]!r}; tasks: {', '.join(tasks)}")
    if missing:
        raise ValueError(f"{key}: the weight of task {missing[0]!r} is missing")
