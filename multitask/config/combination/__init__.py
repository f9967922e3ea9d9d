"""How the tasks' losses or gradients become one update: the config of every method.

A method is a class with an `ABOUT`; one with `SEARCH` joins the spaces that search the combination.
"""

from typing import Annotated

from pydantic import Field

from multitask.config.combination.about import About
from multitask.config.combination.base import GradientMethod, LossMethod, Method
from multitask.config.combination.coordinates import GradDrop, TrimmedMean
from multitask.config.combination.gradients import (
    MGDA,
    AlignedMTL,
    CAGrad,
    ConFIG,
    DualProj,
    FairGrad,
    GradNorm,
    GradVac,
    IMTLGradients,
    NashMTL,
    NormalizedGradients,
    PCGrad,
    SDMGrad,
    UPGrad,
)
from multitask.config.combination.losses import (
    DWA,
    FAMO,
    STCH,
    GeometricMean,
    IMTLLosses,
    LossWeights,
    Mean,
    RandomWeights,
    Scheduled,
    SizeWeighted,
    Sum,
    Uncertainty,
)

CombinationConfig = Annotated[
    Sum
    | Mean
    | SizeWeighted
    | LossWeights
    | Scheduled
    | RandomWeights
    | Uncertainty
    | IMTLLosses
    | DWA
    | FAMO
    | GeometricMean
    | STCH
    | PCGrad
    | GradVac
    | CAGrad
    | MGDA
    | AlignedMTL
    | IMTLGradients
    | NashMTL
    | FairGrad
    | UPGrad
    | DualProj
    | ConFIG
    | SDMGrad
    | GradNorm
    | NormalizedGradients
    | GradDrop
    | TrimmedMean,
    Field(discriminator="name"),
]

__all__ = [
    "DWA",
    "FAMO",
    "MGDA",
    "STCH",
    "About",
    "AlignedMTL",
    "CAGrad",
    "CombinationConfig",
    "ConFIG",
    "DualProj",
    "FairGrad",
    "GeometricMean",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GradientMethod",
    "IMTLGradients",
    "IMTLLosses",
    "LossMethod",
    "LossWeights",
    "Mean",
    "Method",
    "NashMTL",
    "NormalizedGradients",
    "PCGrad",
    "RandomWeights",
    "SDMGrad",
    "Scheduled",
    "SizeWeighted",
    "Sum",
    "TrimmedMean",
    "UPGrad",
    "Uncertainty",
]
