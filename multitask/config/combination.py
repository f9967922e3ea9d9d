"""How the tasks' losses or gradients become one update. A combination with `SEARCH` joins the spaces that search it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from multitask.config.base import Config
from multitask.config.search import PerTask, Ranges


class Sum(Config):
    """The sum of the task losses."""

    SEARCH: ClassVar[Ranges] = {}

    name: Literal["sum"] = "sum"


class SizeWeighted(Config):
    """Each loss weighted by its task's share of the training rows, scaled so that the weights sum to the number of tasks."""

    SEARCH: ClassVar[Ranges] = {}

    name: Literal["size_weighted"] = "size_weighted"


class LossWeights(Config):
    """Each loss times a weight given by hand."""

    SEARCH: ClassVar[Ranges] = {"loss_weights": PerTask(0.25, 4)}

    name: Literal["loss_weights"] = "loss_weights"
    loss_weights: dict[str, float] = Field(description="task to a weight, 0 or more, every task of the recipe")

    @field_validator("loss_weights")
    @classmethod
    def _not_negative(cls, weights: dict[str, float]) -> dict[str, float]:
        for task, weight in weights.items():
            if weight < 0:
                raise ValueError(f"the weight of {task} must not be negative, got {weight:g}")
        return weights


class PCGrad(Config):
    """Gradient surgery (Yu et al. 2020): each task gradient loses what points against another task's."""

    SEARCH: ClassVar[Ranges] = {}
    NEEDS_SEVERAL_TASKS: ClassVar[bool] = True

    name: Literal["pcgrad"] = "pcgrad"
    groups: tuple[tuple[str, ...], ...] | None = Field(
        default=None, description="tasks whose losses are summed before the surgery; every task by itself if not given"
    )


CombinationConfig = Annotated[Sum | SizeWeighted | LossWeights | PCGrad, Field(discriminator="name")]
