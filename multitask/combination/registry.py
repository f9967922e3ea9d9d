"""Name to combination."""

from collections.abc import Callable
from typing import TypeVar

from multitask.combination.base import Combination
from multitask.combination.coordinates.combination import GradDropCombination, TrimmedMeanCombination
from multitask.combination.gradients.balance import ConFIGWeights, NormalizedWeights
from multitask.combination.gradients.bargaining import FairGradWeights, NashWeights
from multitask.combination.gradients.cagrad import CAGradWeights
from multitask.combination.gradients.combination import GradientCombination, groups_of
from multitask.combination.gradients.descent import AlignedMTLWeights, IMTLGradientsWeights, MGDAWeights
from multitask.combination.gradients.dual_cone import DualProjWeights, UPGradWeights
from multitask.combination.gradients.gradnorm import GradNormWeights
from multitask.combination.gradients.gradvac import GradVacWeights
from multitask.combination.gradients.krum import KrumWeights
from multitask.combination.gradients.pcd import PCDWeights
from multitask.combination.gradients.pcgrad import PCGradWeights
from multitask.combination.gradients.sdmgrad import SDMGradWeights
from multitask.combination.gradients.weighting import Weighting
from multitask.combination.grouped import GroupedCombination
from multitask.combination.losses.dwa import DWACombination
from multitask.combination.losses.famo import FAMOCombination
from multitask.combination.losses.fixed import (
    LossWeightsCombination,
    MeanCombination,
    ScheduledCombination,
    SizeWeightedCombination,
    SumCombination,
)
from multitask.combination.losses.imtl_l import IMTLLossesCombination
from multitask.combination.losses.random import RandomWeightsCombination
from multitask.combination.losses.seen import GeometricMeanCombination, STCHCombination
from multitask.combination.losses.uncertainty import UncertaintyCombination
from multitask.combination.setting import Setting
from multitask.config import RunConfig
from multitask.config.combination import BetweenGroups, GradientMethod, Method
from multitask.keys import generator_key

Changed = TypeVar("Changed", bound=Method)

# A config of a method and the number of groups to its weighting of gradients.
WEIGHTINGS: dict[str, Callable[..., Weighting]] = {
    "pcgrad": lambda config, groups: PCGradWeights(),
    "gradvac": lambda config, groups: GradVacWeights(config.beta, groups),
    "cagrad": lambda config, groups: CAGradWeights(config.c),
    "mgda": lambda config, groups: MGDAWeights(),
    "aligned_mtl": lambda config, groups: AlignedMTLWeights(config),
    "imtl_g": lambda config, groups: IMTLGradientsWeights(),
    "nash_mtl": lambda config, groups: NashWeights(config.max_norm),
    "fairgrad": lambda config, groups: FairGradWeights(config.alpha),
    "upgrad": lambda config, groups: UPGradWeights(config.preference),
    "dualproj": lambda config, groups: DualProjWeights(config.preference),
    "config": lambda config, groups: ConFIGWeights(config.preference),
    "sdmgrad": SDMGradWeights,
    "gradnorm": GradNormWeights,
    "normalized": lambda config, groups: NormalizedWeights(),
    "pcd": PCDWeights,
    "krum": lambda config, groups: KrumWeights(config),
}
COMBINATIONS: dict[str, Callable[..., Combination]] = {
    "sum": SumCombination,
    "mean": MeanCombination,
    "size_weighted": SizeWeightedCombination,
    "loss_weights": LossWeightsCombination,
    "scheduled": ScheduledCombination,
    "random": RandomWeightsCombination,
    "uncertainty": UncertaintyCombination,
    "imtl_l": IMTLLossesCombination,
    "dwa": DWACombination,
    "famo": FAMOCombination,
    "geometric_mean": GeometricMeanCombination,
    "stch": STCHCombination,
    "graddrop": GradDropCombination,
    "trimmed_mean": TrimmedMeanCombination,
}


def build_combination(config: RunConfig, setting: Setting) -> Combination:
    """The combination of `config`."""
    own = config.combination
    if isinstance(own, BetweenGroups) and own.inside is not None:
        return _grouped(own, own.inside, setting)
    return _single(own, setting)


def _single(own: Method, setting: Setting) -> Combination:
    if not isinstance(own, GradientMethod) or own.name in COMBINATIONS:
        return COMBINATIONS[own.name](own, setting)
    groups = len(groups_of(own, setting.tasks))
    return GradientCombination(own, setting, lambda: WEIGHTINGS[own.name](own, groups))


def _grouped(own: BetweenGroups, inside: Method, setting: Setting) -> Combination:
    """What is shared by all methods of gradients, such as their blocks, holds inside the groups as between them."""
    assert own.groups is not None
    between = _changed(own, inside=None, every=1)
    blocks = {key: getattr(own, key) for key in ("granularity", "scope") if hasattr(own, key)}
    within = []
    for number, group in enumerate(own.groups):
        rows = {task: setting.train_rows[task] for task in group}
        of_group = Setting(rows, setting.steps, generator_key(setting.seed, "inside", number))
        within.append(_single(_changed(inside, **blocks), of_group))
    return GroupedCombination(own, setting, _single(between, setting), within)


def _changed(own: Changed, **keys: object) -> Changed:
    """The method with another value of those of `keys` that it has."""
    return own.model_copy(update={key: value for key, value in keys.items() if key in type(own).model_fields})
