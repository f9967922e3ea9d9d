"""Methods that combine each coordinate of the task gradients by itself."""

from typing import ClassVar, Literal

from pydantic import Field

from multitask.config.combination.about import About
from multitask.config.combination.base import GradientMethod
from multitask.config.search import Between, Ranges


class GradDrop(GradientMethod):
    """Gradient sign dropout: of each coordinate only the positive or only the negative parts stay, by chance in their proportion."""

    ABOUT: ClassVar[About] = About(
        "coordinates",
        "Chen et al. 2020, Just Pick a Sign",
        "conflicts within coordinates, many tasks",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {"leak": Between(0, 0.9)}

    name: Literal["graddrop"] = "graddrop"
    leak: float = Field(
        default=0.0, ge=0, le=1, description="share of every gradient that stays whatever the sign; 1 is the sum"
    )


class TrimmedMean(GradientMethod):
    """The mean of each coordinate without its `trim` largest and smallest values."""

    ABOUT: ClassVar[About] = About(
        "coordinates",
        "Yin et al. 2018, Byzantine-Robust Distributed Learning",
        "three tasks and more, one of them noisy",
        gradients="each",
    )

    BOUND_BY: ClassVar[str] = "trim"

    name: Literal["trimmed_mean"] = "trimmed_mean"
    trim: int = Field(
        default=1, ge=1, description="values left out at either end; more than 2 · trim tasks in every step"
    )

    @property
    def least_gradients(self) -> int:
        return 2 * self.trim + 1
