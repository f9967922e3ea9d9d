"""Methods that weigh losses."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from multitask.config.base import ByName
from multitask.config.combination.about import About
from multitask.config.combination.base import LossMethod, Method, not_negative
from multitask.config.search import Between, PerTask, Ranges

_WEIGHTS = "task to a weight, 0 or more, every task of the recipe"


class Sum(Method):
    """The sum of the task losses."""

    ABOUT: ClassVar[About] = About("losses", "–", "always first: what every other method must beat")
    SEARCH: ClassVar[Ranges] = {}

    name: Literal["sum"] = "sum"


class Mean(Method):
    """The mean of the task losses: the sum with a learning rate and a clip norm of another scale."""

    ABOUT: ClassVar[About] = About("losses", "–", "to compare with methods whose weights sum to 1")

    name: Literal["mean"] = "mean"


class SizeWeighted(LossMethod):
    """Each loss weighted by its task's share of the training rows, scaled so that the weights sum to the number of tasks."""

    ABOUT: ClassVar[About] = About("losses", "–", "tasks of very different size, where the large ones matter more")
    SEARCH: ClassVar[Ranges] = {}

    name: Literal["size_weighted"] = "size_weighted"


class LossWeights(LossMethod):
    """Each loss times a weight given by hand."""

    ABOUT: ClassVar[About] = About("losses", "–", "you know what matters, or a sweep finds it")
    SEARCH: ClassVar[Ranges] = {"loss_weights": PerTask(0.25, 4)}

    name: Literal["loss_weights"] = "loss_weights"
    loss_weights: ByName[float] = Field(description=_WEIGHTS)

    _not_negative = field_validator("loss_weights")(not_negative)


class Scheduled(LossMethod):
    """Weights that go in a line from `start` at the first step to `end` at the last."""

    ABOUT: ClassVar[About] = About("losses", "–", "a task that should help first and leave later")

    name: Literal["scheduled"] = "scheduled"
    start: ByName[float] = Field(description=_WEIGHTS)
    end: ByName[float] = Field(description=_WEIGHTS)

    _not_negative = field_validator("start", "end")(not_negative)


class RandomWeights(LossMethod):
    """Weights drawn at each step: a softmax of standard normal numbers, times the number of tasks of the recipe."""

    ABOUT: ClassVar[About] = About(
        "losses",
        "Lin et al. 2022, Reasonable Effectiveness of Random Weighting",
        "a baseline that cleverer weights must beat",
    )
    SEARCH: ClassVar[Ranges] = {}

    name: Literal["random"] = "random"


class Uncertainty(LossMethod):
    """½ Σ exp(−sₖ) Lₖ + sₖ, the log-variances sₖ learned with the losses by an Adam of their own; all start at 0."""

    ABOUT: ClassVar[About] = About(
        "losses",
        "Kendall et al. 2018, Multi-Task Learning Using Uncertainty to Weigh Losses",
        "losses of different scale, such as cross-entropy beside squared errors",
        state="sₖ and their Adam's moments",
    )
    SEARCH: ClassVar[Ranges] = {"lr": Between(1e-3, 1e-1, log=True)}

    name: Literal["uncertainty"] = "uncertainty"
    lr: float = Field(default=0.01, gt=0, description="learning rate of the log-variances")


class IMTLLosses(LossMethod):
    """Σ exp(sₖ) Lₖ − sₖ, the scales sₖ learned by an Adam of their own, so that all scaled losses come to 1; all start at 0."""

    ABOUT: ClassVar[About] = About(
        "losses",
        "Liu et al. 2021, Towards Impartial Multi-Task Learning (IMTL-L)",
        "losses of different scale",
        state="sₖ and their Adam's moments",
    )
    SEARCH: ClassVar[Ranges] = {"lr": Between(1e-3, 1e-1, log=True)}

    name: Literal["imtl_l"] = "imtl_l"
    lr: float = Field(default=0.01, gt=0, description="learning rate of the scales")


class DWA(LossMethod):
    """Dynamic weight average: K · softmax(rₖ / T) with rₖ a task's mean loss over the last `window` of its steps over that before."""

    ABOUT: ClassVar[About] = About(
        "losses",
        "Liu et al. 2019, End-to-End Multi-Task Learning with Attention",
        "tasks that learn at different speed",
        state="mean losses of two windows and of the current one",
        differs="the paper's window is an epoch",
    )
    SEARCH: ClassVar[Ranges] = {"temperature": Between(0.5, 4, log=True)}

    name: Literal["dwa"] = "dwa"
    temperature: float = Field(default=2.0, gt=0, description="T: the higher, the more alike the weights")
    window: int = Field(default=100, ge=1, description="steps whose losses are averaged")


class FAMO(LossMethod):
    """Fast adaptive multitask optimization: each loss falls at the same rate. Σ zₖ / (c · Lₖ) ∇Lₖ with z a softmax of learned logits."""

    ABOUT: ClassVar[About] = About(
        "losses",
        "Liu et al. 2023, FAMO: Fast Adaptive Multitask Optimization",
        "many tasks, at the price of one gradient each but no Gramian",
        state="logits and their Adam's moments, each task's last loss",
        differs="the loss after a step is that of the task's next batch; the paper runs the same batch again",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {"lr": Between(1e-3, 1e-1, log=True)}
    NEEDS_SEVERAL_TASKS: ClassVar[bool] = True

    name: Literal["famo"] = "famo"
    lr: float = Field(default=0.025, gt=0, description="learning rate of the logits")
    decay: float = Field(default=0.001, ge=0, description="weight decay of the logits")


class GeometricMean(LossMethod):
    """The geometric mean of the losses, times the number of tasks."""

    ABOUT: ClassVar[About] = About(
        "losses",
        "Chennupati et al. 2019, MultiNet++",
        "losses of different scale; none may be negative",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {}
    NEEDS_SEVERAL_TASKS: ClassVar[bool] = True

    name: Literal["geometric_mean"] = "geometric_mean"


class STCH(LossMethod):
    """Smooth Tchebycheff: μ · log Σ exp(Lₖ / (K · μ)): the worst loss counts most."""

    ABOUT: ClassVar[About] = About(
        "losses",
        "Lin et al. 2024, Smooth Tchebycheff Scalarization",
        "the worst task matters; losses must be comparable",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {"mu": Between(0.01, 1, log=True)}
    NEEDS_SEVERAL_TASKS: ClassVar[bool] = True

    name: Literal["stch"] = "stch"
    mu: float = Field(default=0.1, gt=0, description="μ: the smaller, the more the worst loss counts")
    preference: ByName[float] | None = Field(
        default=None,
        description="task to what its loss is multiplied with inside, every task of the recipe; 1/K if not given",
    )

    _not_negative = field_validator("preference")(not_negative)
