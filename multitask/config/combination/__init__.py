"""How the tasks' losses or gradients become one update: the config of every method.

A method is a class with an `ABOUT`; one with `SEARCH` joins the spaces that search the combination.
"""

import typing
from typing import Annotated

from pydantic import Field

from multitask.config.combination.about import About
from multitask.config.combination.base import BetweenGroups, GradientMethod, LossMethod, Method
from multitask.config.combination.chosen_gradients import PCD, Krum
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
    | PCD
    | Krum
    | GradDrop
    | TrimmedMean,
    Field(discriminator="name"),
]

# A method between groups names one inside them, which may be any of these.
for _own in typing.get_args(typing.get_args(CombinationConfig)[0]):
    _own.model_rebuild(_types_namespace={"CombinationConfig": CombinationConfig})

__all__ = [
    "DWA",
    "FAMO",
    "MGDA",
    "PCD",
    "STCH",
    "About",
    "AlignedMTL",
    "BetweenGroups",
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
    "Krum",
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
