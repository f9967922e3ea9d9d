"""Methods that read the inner products of the task gradients."""

from typing import ClassVar, Literal

from pydantic import Field

from multitask.config.combination.about import About
from multitask.config.combination.base import BetweenGroups, GramianMethod, PreferringMethod
from multitask.config.search import Between, Ranges


class PCGrad(GramianMethod):
    """Gradient surgery (Yu et al. 2020): each task gradient loses what points against another task's.

    The paper's algorithm is `scope: shared` with `reduction: sum`. Widespread PyTorch ports flatten the heads into the
    gradients, zeros where a task has none: `scope: all`. A head adds nothing to an inner product, but to its task's norm, so
    that less is projected away, and is itself scaled by what its task's gradient is. [Methods](methods.md#pcgrad) say which
    port does what.
    """

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Yu et al. 2020, Gradient Surgery for Multi-Task Learning",
        "gradients that often point against each other",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {}

    name: Literal["pcgrad"] = "pcgrad"
    reduction: Literal["sum", "mean"] = Field(
        default="sum",
        description="of the projected gradients of what tasks share; heads are summed either way",
    )


class GradVac(GramianMethod):
    """Gradient vaccine: each gradient is turned until its cosine with another is as large as it used to be."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Wang et al. 2021, Gradient Vaccine",
        "many related tasks whose gradients agree more or less",
        state="running average of each pair's cosine",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {"beta": Between(1e-3, 0.5, log=True)}

    name: Literal["gradvac"] = "gradvac"
    beta: float = Field(
        default=0.01, gt=0, le=1, description="β: how fast the cosine aimed at follows the measured one"
    )


class CAGrad(GramianMethod):
    """Conflict-averse gradient descent: the best for the worst-off task within c · |g₀| of the mean gradient g₀."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Liu et al. 2021, Conflict-Averse Gradient Descent",
        "one task falls behind under the sum",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {"c": Between(0.1, 0.9)}

    name: Literal["cagrad"] = "cagrad"
    c: float = Field(
        default=0.4, ge=0, lt=1, description="0 is the mean gradient; the larger, the more the worst-off task counts"
    )


class MGDA(GramianMethod):
    """Multiple-gradient descent: the shortest vector in the convex hull of the gradients, to Frank and Wolfe's method's end."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Désidéri 2012; Sener and Koltun 2018, Multi-Task Learning as Multi-Objective Optimization",
        "no task may get worse; the smallest gradient rules",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {}

    name: Literal["mgda"] = "mgda"


class AlignedMTL(PreferringMethod):
    """The principal components of the gradients scaled alike, so that none rules."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Senushkin et al. 2023, Independent Component Alignment",
        "gradients of very different length that conflict",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {}

    name: Literal["aligned_mtl"] = "aligned_mtl"
    scale: Literal["min", "median", "rmse"] = Field(default="min", description="which singular value all are scaled to")


class IMTLGradients(GramianMethod):
    """The combination whose projections on all normalised gradients are equal."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Liu et al. 2021, Towards Impartial Multi-Task Learning (IMTL-G)",
        "no task may rule by the length of its gradient",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {}

    name: Literal["imtl_g"] = "imtl_g"


class NashMTL(GramianMethod):
    """Nash's bargaining solution: weights α with G α = 1/α for the Gramian G over its Frobenius norm; the update no longer than `max_norm`."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Navon et al. 2022, Multi-Task Learning as a Bargaining Game",
        "tasks of different scale; every one shall gain in proportion",
        differs="solved by Newton's method to rounding; the authors' code stops after 20 linearised problems",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {}

    name: Literal["nash_mtl"] = "nash_mtl"
    max_norm: float | None = Field(default=1.0, gt=0, description="longest update; no bound if null")


class FairGrad(GramianMethod):
    """α-fair resource allocation: weights w with G w = w^(−1/α)."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Ban and Ji 2024, Fair Resource Allocation in Multi-Task Learning",
        "how fair the gains shall be is yours to say",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {"alpha": Between(0.5, 4, log=True)}

    name: Literal["fairgrad"] = "fairgrad"
    alpha: float = Field(
        default=1.0, gt=0, description="α: 1 is proportional fairness; the larger, the more the smallest gain counts"
    )


class UPGrad(PreferringMethod):
    """Unconflicting projection of gradients: each gradient projected on the cone in which no task gets worse, then averaged."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Quinton and Rey 2024, Jacobian Descent for Multi-Objective Optimization",
        "as PCGrad, but no conflict is left",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {}

    name: Literal["upgrad"] = "upgrad"


class DualProj(PreferringMethod):
    """The mean gradient projected on the cone in which no task gets worse."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Lopez-Paz and Ranzato 2017, Gradient Episodic Memory",
        "as little as possible shall be changed",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {}

    name: Literal["dualproj"] = "dualproj"


class ConFIG(PreferringMethod):
    """The direction with the same cosine to every gradient, as long as the sum of their projections on it."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Liu et al. 2025, ConFIG: Towards Conflict-free Training",
        "losses whose gradients differ in length and conflict",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {}

    name: Literal["config"] = "config"


class SDMGrad(PreferringMethod):
    """Direction-oriented multi-objective descent: weights on the simplex follow the worst-off task, held near the mean by λ."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Xiao et al. 2023, Direction-oriented Multi-objective Learning",
        "between the mean (large λ) and MGDA (λ = 0)",
        state="weights of the tasks",
        differs="one batch's Gramian in place of the product of two independent batches' gradients",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {"lambda_": Between(0.1, 10, log=True)}

    name: Literal["sdmgrad"] = "sdmgrad"
    lambda_: float = Field(default=0.3, ge=0, description="λ: how much the mean counts")
    lr: float = Field(default=10.0, gt=0, description="learning rate of an iteration")
    momentum: float = Field(default=0.5, ge=0, lt=1, description="of the weights' steps")
    iterations: int = Field(default=20, ge=1, description="steps of the weights in one step of the training")


class GradNorm(BetweenGroups):
    """Loss weights learned so that tasks that are behind get longer gradients: |wₖ gₖ| → mean · rₖ^α; heads are weighted, too."""

    ABOUT: ClassVar[About] = About(
        "gradients",
        "Chen et al. 2018, GradNorm",
        "tasks that learn at different speed",
        state="weights and their Adam's moments, first losses",
        differs="norms over all shared parameters; the paper takes the last shared layer's",
        gradients="each",
    )
    SEARCH: ClassVar[Ranges] = {"alpha": Between(0.1, 3, log=True)}

    name: Literal["gradnorm"] = "gradnorm"
    alpha: float = Field(default=1.5, ge=0, description="α: how strongly those behind are favoured")
    lr: float = Field(default=0.025, gt=0, description="learning rate of the weights' Adam")


class NormalizedGradients(GramianMethod):
    """Every gradient scaled to the mean of their norms, then summed."""

    ABOUT: ClassVar[About] = About(
        "gradients", "–", "to see whether length alone is the trouble, before direction", gradients="each"
    )
    SEARCH: ClassVar[Ranges] = {}

    name: Literal["normalized"] = "normalized"
