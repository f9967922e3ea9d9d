"""How the tasks' losses or gradients become one update. A combination with `SEARCH` joins the spaces that search it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from multitask.config.base import ByName, Config
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
    loss_weights: ByName[float] = Field(description="task to a weight, 0 or more, every task of the recipe")

    @field_validator("loss_weights")
    @classmethod
    def _not_negative(cls, weights: dict[str, float]) -> dict[str, float]:
        for task, weight in weights.items():
            if weight < 0:
                raise ValueError(f"the weight of {task} must not be negative, got {weight:g}")
        return weights


class PCGrad(Config):
    """Gradient surgery (Yu et al. 2020): each task gradient loses what points against another task's.

    The paper's algorithm is `scope: shared` with `reduction: sum`. Widespread PyTorch ports flatten the heads into the
    gradients, zeros where a task has none: `scope: all`. A head adds nothing to an inner product, but to its task's norm, so
    that less is projected away, and is itself scaled by what its task's gradient is. [Methods](methods.md#pcgrad) say which
    port does what.
    """

    SEARCH: ClassVar[Ranges] = {}
    NEEDS_SEVERAL_TASKS: ClassVar[bool] = True

    name: Literal["pcgrad"] = "pcgrad"
    groups: tuple[tuple[str, ...], ...] | None = Field(
        default=None, description="tasks whose losses are summed before the surgery; every task by itself if not given"
    )
    scope: Literal["shared", "all"] = Field(
        default="shared",
        description="what is projected: the gradients of what tasks share, or those of all, heads included",
    )
    reduction: Literal["sum", "mean"] = Field(
        default="sum", description="of the projected gradients of what tasks share; heads are summed either way"
    )


CombinationConfig = Annotated[Sum | SizeWeighted | LossWeights | PCGrad, Field(discriminator="name")]
