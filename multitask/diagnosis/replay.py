"""What each method would have done with the Gramians that were seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from multitask.combination import Facts, Setting, build_combination
from multitask.combination.registry import COMBINATIONS, WEIGHTINGS
from multitask.config import RunConfig
from multitask.config.loading import change_config
from multitask.diagnosis.probe import Look
from multitask.errors import UserError

# Methods whose updates have this cosine and more are one and the same here.
ALIKE = 0.99
REPLAYED = ("sum", "size_weighted", "uncertainty", "imtl_l", "famo", "geometric_mean", "stch", *WEIGHTINGS)


@dataclass(frozen=True)
class Replayed:
    """A method with its own defaults.

    `to_sum`: mean cosine of its update of the shared parameters with that of the sum. `harm`: share of looks at which the update points
    against a task's gradient. `weights`: task to its mean weight. `fallbacks`: share of looks without weights. `like`: the first method
    above it in the list that does the same, None if there is none.
    """

    name: str
    to_sum: float
    harm: float
    weights: Mapping[str, float]
    fallbacks: float
    like: str | None


def replay(config: RunConfig, looks: Sequence[Look], train_rows: Mapping[str, int]) -> list[Replayed]:
    """Every method that reads losses or Gramians, in the order of their distance from the sum."""
    setting = Setting(train_rows, max(look.step for look in looks) + 1, config.seed)
    used = {name: told for name in REPLAYED if (told := _weights(config, name, looks, setting)) is not None}
    total = used["sum"][0]
    to_sum = {name: _mean_cosine(weights, total, looks) for name, (weights, _) in used.items()}
    order = sorted(used, key=lambda name: (name != "sum", -to_sum[name]))
    found: list[Replayed] = []
    for name in order:
        weights, fallbacks = used[name]
        like = next(
            (o.name for o in found if o.like is None and _mean_cosine(weights, used[o.name][0], looks) >= ALIKE), None
        )
        found.append(
            Replayed(name, to_sum[name], _harm(weights, looks), _mean_weights(weights, looks), fallbacks, like)
        )
    return found


def _weights(
    config: RunConfig, name: str, looks: Sequence[Look], setting: Setting
) -> tuple[list[Tensor], float] | None:
    """The weights (K,) of the tasks at each look, and how often there were none; None where the recipe cannot be trained so."""
    assert name in COMBINATIONS or name in WEIGHTINGS
    try:
        changed = change_config(config, {"combination": {"name": name}}, "diagnose")
    except UserError:
        return None
    own, weights, fallbacks = build_combination(changed, setting), [], 0
    for look in looks:
        plan = own.plan(look.tasks, look.step)
        gramian = look.whole.sum(0)
        member = torch.tensor([[float(task in group) for task in look.tasks] for group in plan.groups]).double()
        scaled = member * plan.losses.double()
        heads = torch.zeros(len(look.tasks)).double()
        facts = Facts(look.step, look.tasks, plan.groups, look.losses, (scaled @ gramian @ scaled.T)[None], heads)
        factors = own.factors(facts)
        own.learn(facts)
        fallbacks += factors.fell_back
        weights.append(factors.shared[0, facts.group_of].double() * plan.losses.double())
    return weights, fallbacks / len(looks)


def _mean_cosine(one: Sequence[Tensor], other: Sequence[Tensor], looks: Sequence[Look]) -> float:
    return float(np.mean([_cosine(w, v, look.whole.sum(0)) for w, v, look in zip(one, other, looks, strict=True)]))


def _cosine(one: Tensor, other: Tensor, gramian: Tensor) -> float:
    """Of the updates Σ wₖ gₖ and Σ vₖ gₖ; 1 where both are nothing."""
    squares = float(one @ gramian @ one), float(other @ gramian @ other)
    if min(squares) <= 0:
        return 1.0 if max(squares) <= 0 else 0.0
    return float(one @ gramian @ other) / (squares[0] * squares[1]) ** 0.5


def _harm(weights: Sequence[Tensor], looks: Sequence[Look]) -> float:
    worst = []
    for own, look in zip(weights, looks, strict=True):
        gramian = look.whole.sum(0)
        update, lengths = gramian @ own, gramian.diagonal().clamp(min=0).sqrt()
        worst.append(bool((update < -1e-6 * lengths * lengths.max()).any()))
    return float(np.mean(worst))


def _mean_weights(weights: Sequence[Tensor], looks: Sequence[Look]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for own, look in zip(weights, looks, strict=True):
        for task, weight in zip(look.tasks, own.tolist(), strict=True):
            values.setdefault(task, []).append(weight)
    return {task: float(np.mean(own)) for task, own in values.items()}
