"""Which task trains when."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from multitask.config.base import Config


class Sequential(Config):
    """Every batch of the first task, then of the second, …; one task in each step."""

    name: Literal["sequential"] = "sequential"


class RoundRobin(Config):
    """The tasks in turn, `tasks_per_step` of them in each step; small sets start again until the largest is through."""

    name: Literal["round_robin"] = "round_robin"
    tasks_per_step: int | Literal["all"] = "all"

    @field_validator("tasks_per_step", mode="before")
    @classmethod
    def _a_number_or_all(cls, value: object) -> object:
        if value != "all" and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"must be a number of tasks or 'all', got {value!r}")
        return value


class Proportional(Config):
    """Every batch of every task once in an epoch, in random order: a task's share is that of its batches.

    Each step takes `batches_per_step` of them; several of one task become one larger batch.
    """

    name: Literal["proportional"] = "proportional"
    batches_per_step: int = Field(default=1, ge=1)


SamplingConfig = Annotated[Sequential | RoundRobin | Proportional, Field(discriminator="name")]


class PhaseConfig(Config):
    """A stretch of training with its own tasks, sampling strategy and length."""

    tasks: tuple[str, ...] | None = Field(default=None, description="all tasks if not given")
    sampling: SamplingConfig = RoundRobin()
    epochs: int = Field(default=1, ge=1)
    steps_per_epoch: int | None = Field(default=None, ge=1, description="as the strategy counts an epoch if not given")
