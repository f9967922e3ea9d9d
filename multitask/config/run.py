"""The whole of a run's config."""

import hashlib
import json
import re

from pydantic import Field, field_validator, model_validator

from multitask.config.base import ByName, Config
from multitask.config.cluster import MOST_CHARACTERS, ClusterConfig, TrackingConfig
from multitask.config.combination import CombinationConfig, Sum
from multitask.config.consistency import (
    check_batch_sizes,
    check_combination,
    check_layer_conflicts,
    check_looks,
    check_micro_batches,
    check_optimizer,
    check_phase,
    check_regularization,
    check_selection,
    check_tasks_in_step,
    check_train_scores,
    score_names,
)
from multitask.config.data import DataConfig
from multitask.config.messages import shown
from multitask.config.model import EncoderConfig, HeadDefaults, LoRA
from multitask.config.passes import check_attention, check_compile, check_tf32
from multitask.config.regularization import RegularizationConfig
from multitask.config.sampling import PhaseConfig
from multitask.config.source import SourceConfig
from multitask.config.task import TaskConfig
from multitask.config.training import AdamW, OptimizerConfig, Precision, ScheduleConfig, TrainingConfig, ZeroConfig
from multitask.redaction import redact_uris, without_secrets

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class RunConfig(Config):
    """One frozen tree; the same dict goes into the checkpoint, W&B and the trial, and back, unchanged."""

    name: str = Field(description="names the run folder; the same name again goes on where it stopped")
    description: str = Field(default="", description="one line for lists of recipes")
    source: SourceConfig | None = Field(default=None, description="the published row that this recipe implements")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of heads, dropout, row order, drawn tasks and surgery")
    encoder: EncoderConfig = Field(description="the encoder that all tasks share")
    head: HeadDefaults = Field(default=HeadDefaults(), description="what holds for every task's head")
    tasks: ByName[TaskConfig] = Field(min_length=1, description="the tasks by name")
    data: DataConfig = Field(default=DataConfig(), description="where data lies, how it is read and batched")
    phases: tuple[PhaseConfig, ...] = Field(
        default=(PhaseConfig(),), min_length=1, description="stretches of training, one after the other"
    )
    combination: CombinationConfig = Field(default=Sum(), description="how losses or gradients become one update")
    regularization: RegularizationConfig = Field(
        default=RegularizationConfig(), description="terms added to the loss of every task with labels"
    )
    optimizer: OptimizerConfig = Field(default=AdamW(), description="what applies the combined gradient")
    schedule: ScheduleConfig = Field(default=ScheduleConfig(), description="the learning rate over the steps")
    training: TrainingConfig = Field(default=TrainingConfig(), description="evaluating, saving, clipping, stopping")
    precision: Precision = Field(
        default="fp32",
        description="bf16: bf16 weights with fp32 masters; autocast: fp32 weights, bf16 matrix products; fp16: fp32 weights, fp16 matrix "
        "products under a loss scale, for GPUs without bf16 (T4, V100)",
    )
    zero: ZeroConfig = Field(default=ZeroConfig(), description="what DeepSpeed shards over the workers")
    cluster: ClusterConfig = Field(default=ClusterConfig(), description="workers, their resources, storage")
    tracking: TrackingConfig = Field(default=TrackingConfig(), description="Weights & Biases")

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
        if self.tracking.mode != "disabled" and len(self.name) > MOST_CHARACTERS:
            raise ValueError(
                f"name: W&B takes {MOST_CHARACTERS} characters at most, got {len(self.name)}: {shown(self.name)}"
            )
        for index, phase in enumerate(self.phases):
            check_phase(f"phases.{index}", phase, self.tasks, self.encoder)
            check_tasks_in_step(f"phases.{index}", phase, self.tasks, self.combination)
        check_combination(self.combination, self.tasks)
        check_layer_conflicts(self.training, self.combination)
        check_looks(self.training, self.combination, self.precision)
        dropping = {task for task in self.tasks if self.drops(task)}
        check_regularization(self.regularization, self.tasks, drops_encoder=self.drops_encoder, dropping=dropping)
        check_batch_sizes(self.tasks, self.data.batch_size)
        check_optimizer(self.optimizer, self.phases, self.tasks)
        check_micro_batches(self.training, self.data)
        check_selection(self.training.selection, self.tasks)
        check_train_scores(self.training, self.tasks)
        check_attention(self.encoder, self.training, self.precision, self.cluster)
        check_compile(self.encoder, self.training, self.zero)
        check_tf32(self.training, self.cluster)
        return self

    def batch_size(self, task: str) -> int:
        """Rows of one global batch of `task`."""
        return self.tasks[task].batch_size or self.data.batch_size

    def head_dropout(self, task: str) -> float:
        """Dropout of the head of `task`; 0 where a head has nothing that could be dropped."""
        default = self.encoder.dropout if self.head.dropout is None else self.head.dropout
        return self.tasks[task].head_dropout(default)

    @property
    def drops_encoder(self) -> bool:
        """Whether two passes of a text through the encoder differ."""
        return self.encoder.dropout > 0 or (isinstance(self.encoder.adapter, LoRA) and self.encoder.adapter.dropout > 0)

    def drops(self, task: str) -> bool:
        """Whether two passes of a row of `task` differ."""
        return self.drops_encoder or self.head_dropout(task) > 0

    @property
    def scored_tasks(self) -> tuple[str, ...]:
        """The tasks with dev rows and metrics."""
        return tuple(name for name, task in self.tasks.items() if task.is_scored)

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores that an evaluation gives, `dev/mean` first."""
        return score_names(self.tasks)

    @property
    def selected_tasks(self) -> tuple[str, ...]:
        """The tasks whose scores enter `dev/mean`."""
        return tuple(name for name in self.scored_tasks if not self.tasks[name].auxiliary)

    def phase_tasks(self, phase: int) -> tuple[str, ...]:
        """The tasks of phase number `phase`."""
        return self.phases[phase].tasks_among(self.tasks)

    def to_dict(self) -> dict:
        """The config as plain JSON values; `RunConfig.model_validate` gives it back."""
        return self.model_dump(mode="json")

    def to_public(self) -> dict:
        """As `to_dict`, without secrets: what is written, shown and tracked."""
        config = redact_uris(self.to_dict())
        config["tracking"]["extra"] = without_secrets(config["tracking"]["extra"])
        return config

    def trajectory(self) -> dict:
        """What the learned weights depend on: everything but names, watching, where it runs, and secrets."""
        config = self.to_public()
        for key in ("name", "description", "source", "cluster", "tracking", "zero"):
            del config[key]
        for key in ("root", "cache"):
            del config["data"][key]
        for key in (
            "save_every",
            "stop_after",
            "log_every",
            "non_finite_limit",
            "check_every",
            "evaluate_before",
            "score_train_rows",
            "layer_conflicts_every",
            "accumulation",
            "max_tokens_per_micro_batch",
            "compile",
            "tf32",
            "deterministic",
        ):
            del config["training"][key]
        for key in ("attention", "checkpointing"):
            del config["encoder"][key]
        if self.cluster.wire != "fp32":
            config["wire"] = self.cluster.wire
        return config

    def trajectory_hash(self) -> str:
        """sha256 of `trajectory`."""
        return hashlib.sha256(json.dumps(self.trajectory(), sort_keys=True).encode()).hexdigest()
