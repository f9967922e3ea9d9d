"""Which task trains when. A strategy with `SEARCH` joins the spaces that search sampling."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from multitask.config.base import ByName, Config
from multitask.config.search import Between, OneOf, PerTask, Ranges, TasksInStep


class Sequential(Config):
    """Every batch of the first task, then of the second, …; one task in each step."""

    name: Literal["sequential"] = "sequential"


def _number_or_all(value: object) -> object:
    if value != "all" and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"must be a number of tasks or 'all', got {value!r}")
    return value


TasksPerStep = Annotated[int | Literal["all"], BeforeValidator(_number_or_all)]
_TASKS_PER_STEP = "different tasks that a step trains"


class RoundRobin(Config):
    """The tasks in turn, `tasks_per_step` of them in each step; small sets start again until the largest is through."""

    SEARCH: ClassVar[Ranges] = {"tasks_per_step": TasksInStep(draws=False)}

    name: Literal["round_robin"] = "round_robin"
    tasks_per_step: TasksPerStep = Field(default="all", description=_TASKS_PER_STEP)


class ScaledBatchSizes(Config):
    """The tasks in turn with batch sizes in proportion to their sets, so that all are through at the same time.

    `batches`: every task has this many in a pass. Or `largest`: the batch size of the largest set, which gives the
    number of batches. The tasks' own batch sizes must be left out.
    """

    SEARCH: ClassVar[Ranges] = {
        "largest": OneOf((16, 32, 64)),
        "batches": OneOf((None,)),
        "tasks_per_step": TasksInStep(draws=False),
    }

    name: Literal["scaled_batch_sizes"] = "scaled_batch_sizes"
    batches: int | None = Field(default=None, ge=1, description="batches of every task in a pass")
    largest: int | None = Field(default=None, ge=1, description="batch size of the largest set")
    tasks_per_step: TasksPerStep = Field(default="all", description=_TASKS_PER_STEP)

    @model_validator(mode="after")
    def _one_of_both(self) -> "ScaledBatchSizes":
        if (self.batches is None) == (self.largest is None):
            raise ValueError("give one of batches and largest")
        return self


class Proportional(Config):
    """Every batch of every task once in an epoch, in random order: a task's share is that of its batches.

    Each step takes `merged_batches` of them; several of one task become one larger batch.
    """

    SEARCH: ClassVar[Ranges] = {"merged_batches": TasksInStep(draws=False)}

    name: Literal["proportional"] = "proportional"
    merged_batches: int = Field(default=1, ge=1, description="batches of the shuffled epoch that a step takes")


class _Drawn(Config):
    """Each step draws `tasks_per_step` different tasks. An epoch has as many batches as all sets together."""

    SEARCH: ClassVar[Ranges] = {"tasks_per_step": TasksInStep(draws=True)}

    tasks_per_step: TasksPerStep = Field(default=1, description=_TASKS_PER_STEP)


class Uniform(_Drawn):
    """Tasks drawn at random, all alike."""

    name: Literal["uniform"] = "uniform"


class SquareRoot(_Drawn):
    """Tasks drawn with p ∝ √N (Stickland and Murray 2019), N the training rows."""

    name: Literal["square_root"] = "square_root"


class Temperature(_Drawn):
    """Tasks drawn with p ∝ min(N, cap)^(1/temperature) (Raffel et al. 2020, T5): 1 is proportional, large is uniform."""

    SEARCH: ClassVar[Ranges] = {
        **_Drawn.SEARCH,
        "temperature": Between(1, 10, log=True),
        "cap": OneOf((None, 4_096, 16_384, 65_536)),
    }

    name: Literal["temperature"] = "temperature"
    temperature: float = Field(default=2.0, ge=1, description="1 is proportional, large is uniform")
    cap: int | None = Field(default=None, ge=1, description="rows above which a set counts as no larger")


class Annealed(_Drawn):
    """Tasks drawn with p ∝ N^α, α falling from `start` in the first epoch to `end` in the last (Stickland and Murray 2019).

    α = start − (start − end) · (e − 1) / (E − 1) with e = 1 … E.
    """

    SEARCH: ClassVar[Ranges] = {**_Drawn.SEARCH, "start": Between(0.5, 1), "end": Between(0, 0.5)}

    name: Literal["annealed"] = "annealed"
    start: float = Field(default=1.0, ge=0, le=1, description="α of the first epoch")
    end: float = Field(default=0.2, ge=0, le=1, description="α of the last epoch")


class DrawnByWeights(_Drawn):
    """Tasks drawn with p ∝ weights given by hand."""

    SEARCH: ClassVar[Ranges] = {**_Drawn.SEARCH, "draw_weights": PerTask(0.25, 4)}

    name: Literal["draw_weights"] = "draw_weights"
    draw_weights: ByName[float] = Field(description="task to a weight above 0, every task of the phase")

    @field_validator("draw_weights")
    @classmethod
    def _positive(cls, weights: dict[str, float]) -> dict[str, float]:
        for task, weight in weights.items():
            if weight <= 0:
                raise ValueError(
                    f"the weight of {task} must be above 0, got {weight:g}; leave a task out by phases.N.tasks"
                )
        return weights


DrawnConfig = Uniform | SquareRoot | Temperature | Annealed | DrawnByWeights
SamplingConfig = Annotated[
    Sequential | RoundRobin | ScaledBatchSizes | Proportional | DrawnConfig, Field(discriminator="name")
]


class PhaseConfig(Config):
    """A stretch of training with its own tasks, sampling strategy and length."""

    tasks: tuple[str, ...] | None = Field(default=None, description="all tasks if not given")
    sampling: SamplingConfig = Field(default=RoundRobin(), description="which task trains when")
    epochs: int = Field(default=1, ge=1, description="passes, as the strategy counts them")
    steps_per_epoch: int | None = Field(default=None, ge=1, description="as the strategy counts an epoch if not given")
    rows_per_epoch: int | None = Field(
        default=None,
        ge=1,
        description="the training rows of an epoch, the same for every strategy, instead of its steps",
    )
    lr: float | None = Field(
        default=None, gt=0, description="peak learning rate of this phase; optimizer.lr if not given"
    )
    encoder: Literal["trained", "frozen", "gradual"] = Field(
        default="trained",
        description="gradual: heads alone in the phase's first epoch, then one more encoder layer in each, from the top",
    )

    @model_validator(mode="after")
    def _one_length(self) -> "PhaseConfig":
        if self.steps_per_epoch is not None and self.rows_per_epoch is not None:
            raise ValueError("steps_per_epoch and rows_per_epoch both say how long an epoch is: give one of them")
        return self

    def tasks_among(self, names: Iterable[str]) -> tuple[str, ...]:
        """The tasks that the phase trains; `names` are those of the config."""
        return tuple(names) if self.tasks is None else self.tasks
