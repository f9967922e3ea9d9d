"""How the tasks' losses or gradients become one update."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from multitask.config.base import Config


class Sum(Config):
    """The sum of the task losses."""

    name: Literal["sum"] = "sum"


class SizeWeighted(Config):
    """Each loss weighted by its task's share of the training rows, scaled so that the weights sum to the number of tasks."""

    name: Literal["size_weighted"] = "size_weighted"


class Weights(Config):
    """Each loss times a weight given by hand."""

    name: Literal["weights"] = "weights"
    weights: dict[str, float]

    @field_validator("weights")
    @classmethod
    def _not_negative(cls, weights: dict[str, float]) -> dict[str, float]:
        for task, weight in weights.items():
            if weight < 0:
                raise ValueError(f"the weight of {task} must not be negative, got {weight:g}")
        return weights


class PCGrad(Config):
    """Gradient surgery (Yu et al. 2020): each task gradient loses what points against another task's."""

    name: Literal["pcgrad"] = "pcgrad"
    groups: tuple[tuple[str, ...], ...] | None = Field(
        default=None, description="tasks whose losses are summed before the surgery; every task by itself if not given"
    )


CombinationConfig = Annotated[Sum | SizeWeighted | Weights | PCGrad, Field(discriminator="name")]
