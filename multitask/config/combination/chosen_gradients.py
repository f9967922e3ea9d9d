"""Methods that read inner products and set some gradients before others."""

from typing import ClassVar, Literal

from pydantic import Field

from multitask.config.combination.about import About
from multitask.config.combination.base import GramianMethod
from multitask.config.search import Between, Ranges


class PCD(GramianMethod):
    """Priority-constrained descent: as close to the primary task's gradient as leaves every other a share τ of its own progress."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Priority-Constrained Descent, TMLR 2026 (arXiv 2606.29521)",
        "one task is the goal, the others help it or must not get worse",
        state="running averages of the squares of the gradients' norms",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {"tau": Between(0, 0.5)}

    name: Literal["pcd"] = "pcd"
    primary: str = Field(description="the task that comes first; a step without it is that of the sum")
    tau: float = Field(
        default=0.02, ge=0, le=1, description="τ: what every other task must gain, 1 is a step of its own"
    )
    beta: float = Field(default=0.999, ge=0, lt=1, description="β: decay of the running averages")


class Krum(GramianMethod):
    """Krum: the mean of the `selected` gradients that are nearest to their neighbours."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Blanchard et al. 2017, Machine Learning with Adversaries",
        "many tasks, some of which may be broken",
        differs="chooses among tasks; the paper's gradients are those of workers for one task",
        gradients="each",
    )
    BOUND_BY: ClassVar[str] = "outliers"

    name: Literal["krum"] = "krum"
    outliers: int = Field(
        default=0, ge=0, description="gradients not to be trusted; three more tasks than that in every step"
    )
    selected: int = Field(default=1, ge=1, description="gradients that are averaged")

    @property
    def least_gradients(self) -> int:
        return max(self.outliers + 3, self.selected)
