"""Optimizer, schedule, precision and the watch over the run."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from multitask.config.base import Config

Beta = Annotated[float, Field(ge=0, lt=1)]


class _Optimizer(Config):
    lr: float = Field(default=2e-5, gt=0, description="peak learning rate, of encoder and heads")
    weight_decay: float = Field(default=0.01, ge=0, description="biases and normalisation weights are spared")
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="learning rate of an encoder layer over that of the layer above it"
    )
    per_task: bool = Field(
        default=False, description="each task has its own moments and schedule; one task a step only"
    )


class AdamW(_Optimizer):
    """AdamW with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    betas: tuple[Beta, Beta] = Field(default=(0.9, 0.999), description="β₁ and β₂ of the moments")
    eps: float = Field(default=1e-8, gt=0, description="ε of the denominator")
    eps_hat: bool = Field(
        default=False,
        description="ε is added to √v as it is, not to √v corrected for its start at 0: ε̂ of Kingma and Ba 2015, section 2",
    )


class LibraryOptimizer(_Optimizer):
    """Any optimizer of the package pytorch_optimizer by its name there, such as `adamax`, `qhadam`, `lamb` or `muon`.

    A second rate of its class (Muon's `adamw_lr` for all that is no matrix between hidden states, MARS' `lr_1d`) follows
    `lr` in the proportion of the class's own defaults, unless `options` gives it.
    """

    OF_THE_NAME: ClassVar[tuple[str, ...]] = ("options",)

    name: str = Field(description="the optimizer's name in pytorch_optimizer")
    options: dict[str, Any] = Field(default={}, description="further arguments of its class")
    decay: Literal["decoupled", "library"] = Field(
        default="decoupled",
        description="decoupled: a step takes rate · weight_decay · w off each weight w beside the update (Loshchilov and "
        "Hutter 2019); library: as the class does it by itself, often in the gradient (L2)",
    )


def _tag(value: object) -> str:
    name = value.get("name", "adamw") if isinstance(value, dict) else getattr(value, "name", "adamw")
    return "adamw" if name == "adamw" else "library"


OptimizerConfig = Annotated[
    Annotated[AdamW, Tag("adamw")] | Annotated[LibraryOptimizer, Tag("library")], Discriminator(_tag)
]


class ScheduleConfig(Config):
    """Linear warm-up over a share of the steps, then a decay to zero (`constant`: none)."""

    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps in which the rate rises")
    decay: Literal["linear", "cosine", "constant"] = Field(default="linear", description="how it falls afterwards")
    per: Literal["run", "phase"] = Field(default="run", description="what one warm-up and one decay span")


class TrainingConfig(Config):
    """What a step does beside its gradients, and when the model is evaluated, saved and stopped."""

    accumulation: int = Field(
        default=1, ge=1, description="micro-batches that a rank's share of a task batch is cut into"
    )
    max_tokens_per_micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="token slots, padding included, of one micro-batch, data.max_length or more: a share with more is cut further; the "
        "gradient is the same",
    )
    clip_norm: float | None = Field(
        default=None, gt=0, description="largest norm of the combined gradient; no clipping if null"
    )
    evaluate_every: int | None = Field(default=None, ge=1, description="steps; at the end of every epoch if not given")
    evaluate_rows: int | None = Field(
        default=None, ge=1, description="training rows between two evaluations, instead of evaluate_every"
    )
    evaluate_before: bool = Field(default=False, description="also before the first step, to show what training gains")
    score_train_rows: int | None = Field(
        default=None,
        ge=1,
        description="training rows of each task, always the same, that evaluations score too, as train/TASK/METRIC; none if not given",
    )
    save_every: int | Literal["auto"] | None = Field(
        default=None,
        description="steps, 1 or more, beside the saves at each evaluation; auto: by what a save costs and how often workers are lost",
    )
    selection: str = Field(default="dev/mean", description="the score that chooses the best checkpoint")
    patience: int | None = Field(
        default=None, ge=1, description="evaluations without a better score before the run stops"
    )
    stop_after: int | None = Field(
        default=None, ge=1, description="steps after which the run stops; its schedule stays that of the whole run"
    )
    non_finite_limit: int = Field(
        default=10, ge=0, description="skipped non-finite steps in a row after which the run has failed"
    )
    check_every: int = Field(
        default=1,
        ge=1,
        description="steps between two looks of the host at losses and gradients; above 1 a GPU is not waited for in between, and a step that "
        "is not finite ends the run instead of being left out",
    )
    log_every: int = Field(default=10, ge=1, description="steps between two records of losses, weights and norms")

    layer_conflicts_every: int | None = Field(
        default=None,
        ge=1,
        description="steps between two looks at how the tasks' gradients get along in each layer of the encoder; none if not given",
    )

    compile: bool = Field(
        default=False,
        description="make code for the encoder's layers with torch.compile: the same to rounding, faster after minutes of compiling; with "
        "encoder.dropout_key=rank other masks",
    )
    tf32: bool = Field(
        default=False,
        description="products of the encoder's fp32 matrices in TF32, 10 bits of each factor, on GPUs that have it; all that compares and sums "
        "gradients keeps its precision; in bf16 and autocast little is left to it",
    )
    deterministic: bool = Field(
        default=False,
        description="only operations that give the same bits each time on the same device; an operation that cannot ends the run",
    )

    def saves_after(self, step: int) -> bool:
        """Whether the number of steps alone says to save; `auto` is left to who measures."""
        return step == self.stop_after or (isinstance(self.save_every, int) and step % self.save_every == 0)

    @field_validator("save_every", mode="before")
    @classmethod
    def _steps_or_auto(cls, value: object) -> object:
        is_steps = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if value is None or value == "auto" or is_steps:
            return value
        raise ValueError(f"must be a number of steps, 1 or more, or auto, got {value!r}")

    @model_validator(mode="after")
    def _one_interval(self) -> "TrainingConfig":
        if self.evaluate_every is not None and self.evaluate_rows is not None:
            raise ValueError("evaluate_every and evaluate_rows both say when to evaluate: give one of them")
        return self


class ZeroConfig(Config):
    """What DeepSpeed shards over the workers. Combined gradients are sharded at every stage, so that 2 is as 1."""

    stage: Literal[1, 2, 3] = Field(
        default=1, description="1 and 2: optimizer state and combined gradient; 3: parameters, too"
    )


Precision = Literal["fp32", "bf16", "autocast", "fp16"]
