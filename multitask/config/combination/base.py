"""What methods have in common."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from multitask.config.base import ByName, Config
from multitask.config.combination.about import About
from multitask.config.search import Ranges

if TYPE_CHECKING:
    from multitask.config.combination import CombinationConfig

Share = Annotated[float, Field(ge=0, le=1)]


def not_negative(weights: dict[str, float] | None) -> dict[str, float] | None:
    """`weights` as they are.

    Raises:
        ValueError: one of them is negative, or all are zero.
    """
    for task, weight in (weights or {}).items():
        if weight < 0:
            raise ValueError(f"the weight of {task} must not be negative, got {weight:g}")
    if weights and not any(weights.values()):
        raise ValueError("at least one weight must be above 0")
    return weights


class Method(Config):
    """A loss combination."""

    ABOUT: ClassVar[About]
    SEARCH: ClassVar[Ranges]

    name: str


class LossMethod(Method):
    """A method that gives each task's loss a weight."""

    strength: Share = Field(
        default=1.0, description="1: the method alone; 0: the sum of the losses; between: a mix of both"
    )
    after: int = Field(default=0, ge=0, description="steps that the sum of the losses is trained first")


class GradientMethod(Method):
    """A method that gives each task's gradient of the shared parameters a weight; heads keep their own gradients."""

    NEEDS_SEVERAL_TASKS: ClassVar[bool] = True
    # The key that says how many gradients it takes.
    BOUND_BY: ClassVar[str] = "name"

    groups: tuple[tuple[str, ...], ...] | None = Field(
        default=None,
        description="tasks that are one to the method, their losses summed; every task by itself if not given",
    )
    strength: Share = Field(
        default=1.0, description="1: the method alone; 0: the sum of the losses; between: a mix of both"
    )
    after: int = Field(default=0, ge=0, description="steps that the sum of the losses is trained first")

    @property
    def least_gradients(self) -> int:
        """The fewest gradients that the method can combine, where it has several."""
        return 1


class BetweenGroups(GradientMethod):
    """A method that weighs the groups' gradients, each of which may be made by a method of its own."""

    inside: "CombinationConfig | None" = Field(
        default=None, description="the combination within each of `groups`, with keys as here; the sum if not given"
    )


class GramianMethod(BetweenGroups):
    """A method that reads the inner products of the task gradients."""

    granularity: Literal["encoder", "layer", "parameter"] = Field(
        default="encoder",
        description="what has weights of its own: all that is shared, each layer of it, or each parameter",
    )
    every: int = Field(
        default=1,
        ge=1,
        description="steps between two looks at the gradients; between them one gradient is kept, not one per task",
    )
    scope: Literal["shared", "all"] = Field(
        default="shared",
        description="what is compared and weighted: the gradients of what tasks share, or those of all, heads included",
    )

    @model_validator(mode="after")
    def _heads_are_in_no_block(self) -> "GramianMethod":
        if self.scope == "all" and (self.granularity != "encoder" or self.every > 1):
            raise ValueError("scope=all goes with granularity=encoder and every=1")
        return self


class PreferringMethod(GramianMethod):
    """A method that can prefer tasks."""

    preference: ByName[float] | None = Field(
        default=None,
        description="task to how much it counts beside the others, every task of the recipe; all alike if not given",
    )

    _not_negative = field_validator("preference")(not_negative)
